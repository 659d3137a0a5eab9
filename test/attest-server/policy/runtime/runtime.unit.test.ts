import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { DigestList } from '../../../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import { type Reference, reference as referenceSchema } from '../../../../attest-server/formats/reference.ts';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import { appraise, createAppraiser, noPast } from '../../../../attest-server/policy/appraise.ts';
import { captureReferencesInSteps } from '../../../../attest-server/policy/capture.ts';
import { groupOf } from '../../../../attest-server/policy/policy.ts';
import { likenessTo } from '../../../../attest-server/policy/reference-reach.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { measuredEntry } from '../../../../swtpm-fixtures/ima-list.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bootByHand, plainState, provenByHand } from '../../verify/made-by-hand.ts';
import { policyOf, replayedValues } from '../made-proof.ts';
import { signatures } from './recorded-signatures.ts';
import {
  at,
  codesOf,
  coversTcb,
  digestOf,
  elsewhere,
  file,
  inTurn,
  judged,
  knowing,
  measured,
  RunningNode,
  runtimePolicy,
  signedFile,
  violated,
} from './running-node.ts';

const known = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' });
const good = () => new RunningNode().run(file('/usr/bin/a', 'a'), file('/usr/bin/b', 'b'));
const evil = file('/usr/bin/evil', 'evil');
const day = 86_400_000;
const bare: NonNullable<Proven['facts']> = {
  purpose: 'attest',
  node: 'one',
  bootId: '00000000-0000-4000-8000-000000000000',
  helloDigest: '00'.repeat(32),
};

describe('what a node ran', () => {
  it('is affirmed by the TPM where references know all of it', () => {
    const { state, aspects, reasons } = judged(good().answer(), [known]);
    assert.deepEqual([state, reasons], ['trusted', []]);
    assert.deepEqual(aspects.runtime, { status: 'affirming', source: 'tpm', references: ['known'] });
    const byTpm = policyOf('require: [{runtime: tpm}]', 'runtime:', `  ${coversTcb}`);
    assert.equal(judged(good().answer(), [known], byTpm).state, 'trusted');
  });

  it('names the package of the path, also where another one brings the same content elsewhere', () => {
    const digest = Buffer.from(digestOf('alike'), 'hex');
    const list = DigestList.of([
      { digest, path: '/usr/bin/a', package: 'other 1' },
      { digest, path: '/usr/bin/evil', package: 'tools 1.2' },
    ]);
    const runtime = { files: list.toBytes().toString('base64'), count: list.fileCount };
    const packages = knowing({}, { name: 'packages', runtime });
    const [reason] = judged(good().run(evil).answer(), [known, packages]).reasons;
    assert.match(reason?.detail?.[0] ?? '', /of package tools 1\.2\)$/);
  });

  it('names a file that no reference knows: which, where in the list, since when, and what to do (row 49)', () => {
    const updated = knowing({ '/usr/bin/evil': 'as packaged' }, { name: 'packages' }, 'tools 1.2');
    const { state, reasons } = judged(good().run(evil).answer(), [known, updated]);
    const [reason] = reasons;
    assert.deepEqual(
      [state, reason?.code, reason?.class, reason?.source],
      ['untrusted', 'ima_unknown_file', 'drift', 'tpm'],
    );
    const digest = digestOf('evil');
    assert.equal(reason?.actual, `/usr/bin/evil sha256:${digest}`);
    assert.deepEqual(reason?.evidence, { digest, position: 'entry 3' });
    assert.deepEqual(reason?.detail, [
      `entry 3: /usr/bin/evil sha256:${digest} (first seen 2026-11-25T12:00:00.000Z; reference packages has another content of it, of package tools 1.2)`,
    ]);
    const command = `  assay reference capture one --kind runtime --only ${digest} --name one-1-file --staged`;
    assert.ok(
      nextStep(reason ?? assert.fail(), { node: 'one', name: 'one-1' })
        .split('\n')
        .includes(command),
    );
  });

  it('is not excused by the bare name under which a kernel measures what it found when it started (row 330)', () => {
    const named = (digest: string) =>
      measuredEntry({ digest: Buffer.from(digest, 'hex'), name: 'boot_aggregate' });
    const ran = ({ digests, bytes }: ReturnType<typeof measuredEntry>) => ({
      bytes,
      extends: digests.sha256,
    });
    const [reason] = judged(good().run(file('boot_aggregate', 'evil')).answer(), [known]).reasons;
    assert.deepEqual(
      [reason?.code, reason?.actual],
      ['ima_unknown_file', `boot_aggregate sha256:${digestOf('evil')}`],
    );
    // Whichever kernel is started next, the PCRs before it are the same: an older one hashes fewer of them.
    const to7 = hash(
      'sha256',
      replayedValues(recordedLog('debian13-shim-grub'), 'sha256').subarray(0, 8 * 32),
    );
    for (const node of [good().kexec(), good().run(ran(named(to7)))])
      assert.ok(!codesOf(judged(node.answer(), [known])).includes('ima_unknown_file fail'));
  });

  it('is not called another content where the list has another hash than the reference', () => {
    const { digests, bytes } = measuredEntry({
      algorithm: 'sha1',
      digest: hash('sha1', 'a', 'buffer'),
      name: '/usr/bin/a',
    });
    const node = new RunningNode().run({ bytes, extends: digests.sha256 });
    const [reason] = judged(node.answer(), [known]).reasons;
    assert.match(reason?.detail?.[0] ?? '', /; reference known has it by another hash alone\)$/);
  });

  it('is allowed by a reference of that one file', () => {
    const node = good().run(evil);
    assert.equal(judged(node.answer(), [known, knowing({ '/x': 'evil' }, { name: 'one' })]).state, 'trusted');
  });

  for (const [what, change] of [
    ['staged', { state: 'staged' }],
    ['retired', { state: 'retired' }],
    ['expired', { expires: new Date(at).toISOString() }],
    ['of another group', { group: 'others' }],
  ] as const)
    it(`is not known by a reference that is ${what}`, () => {
      const other: Reference = { ...knowing({ '/usr/bin/evil': 'evil' }, { name: 'other' }), ...change };
      assert.deepEqual(codesOf(judged(good().run(evil).answer(), [known, other])), ['ima_unknown_file fail']);
    });

  it('says which reference that is not in force has what is unknown, and how to put it in force', () => {
    for (const state of ['staged', 'retired'] as const) {
      const other = knowing({ '/usr/bin/evil': 'evil' }, { name: 'other', state });
      const [reason] = judged(good().run(evil).answer(), [known, other]).reasons;
      assert.equal(reason?.outOfForce, 'other');
      assert.match(reason?.detail?.[0] ?? '', new RegExp(`reference other has it, and is ${state}`));
      assert.match(nextStep(reason ?? assert.fail()), /assay reference approve other /);
    }
  });

  it('is of a revoked reference where no other one knows it (row 43)', () => {
    const changed = {
      action: 'revoke',
      by: 'ann',
      at: '2026-11-24T00:00:00Z',
      reason: 'CVE',
      from: 'active',
    } as const;
    const bad = knowing(
      { '/usr/bin/evil': 'evil', '/usr/bin/a': 'a' },
      { name: 'bad', state: 'revoked', changed },
    );
    const { reasons } = judged(good().run(evil).answer(), [known, bad]);
    assert.deepEqual(
      reasons.map(({ code, reference }) => [code, reference]),
      [['revoked_reference', 'bad']],
    );
    assert.match(reasons[0]?.text ?? '', /ann revoked it on 2026-11-24T00:00:00Z \(CVE\)/);
    assert.deepEqual(judged(good().answer(), [known, bad]).state, 'trusted');
    // Of another group, nobody revoked it for this one.
    assert.deepEqual(codesOf(judged(good().run(evil).answer(), [known, { ...bad, group: 'others' }])), [
      'ima_unknown_file fail',
    ]);
  });

  it('has nothing to be compared with: no reference', () => {
    const verdict = judged(good().answer(), []);
    assert.deepEqual([verdict.state, codesOf(verdict)], ['pending', ['no_reference fail']]);
    const unreadable = knowing({}, { runtime: { files: 'AAAA', count: 1 } });
    assert.deepEqual(codesOf(judged(good().answer(), [unreadable])), ['no_reference fail']);
    const named = runtimePolicy('references: [other]');
    assert.deepEqual(codesOf(judged(good().answer(), [known], named)), ['no_reference fail']);
  });

  it('is compared with references by name, of whatever group', () => {
    const named = runtimePolicy('references: [known]');
    assert.equal(judged(good().answer(), [{ ...known, group: 'others' }], named).state, 'trusted');
  });

  it('is known as long as one of several references is in force', () => {
    const old = {
      ...knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' }),
      expires: new Date(at + day).toISOString(),
    };
    const next = knowing({ '/usr/bin/a': 'a' }, { name: 'next' });
    const appraiser = createAppraiser(runtimePolicy(), [old, next]);
    const node = good();
    const answers = [node.answer('new'), node.answer('nothing'), node.answer('nothing')];
    const verdicts = inTurn(appraiser, answers, [at, at + day - 1, at + day]);
    assert.deepEqual(
      verdicts.map(({ state }) => state),
      ['trusted', 'trusted', 'untrusted'],
    );
    assert.deepEqual(verdicts[0]?.aspects.runtime?.references, ['next', 'known']);
    const [reason] = verdicts[2]?.reasons ?? [];
    assert.equal(reason?.actual, `/usr/bin/b sha256:${digestOf('b')}`);
    assert.match(
      reason?.detail?.[0] ?? '',
      /reference known has it, and expired on 2026-11-26T12:00:00.000Z/,
    );
  });

  it('is not looked at where nobody asks', () => {
    const identity = policyOf('require: [identity]');
    const { verdict } = appraise(good().run(evil).answer(), identity, { name: 'one' }, [], at);
    assert.equal(verdict.aspects.runtime, undefined);
    const { verdict: told } = appraise(good().run(evil).answer(), identity, { name: 'one' }, [known], at);
    assert.deepEqual(
      told.reasons.filter(({ aspect }) => aspect === 'runtime').map(({ code, severity }) => [code, severity]),
      [
        ['ima_unknown_file', 'info'],
        ['ima_policy_weak', 'info'],
      ],
    );
  });

  it('must come with each answer where somebody asks, and not where nobody does', () => {
    const enough = (policy: ReturnType<typeof policyOf>, references: readonly Reference[]) =>
      appraise(good().answer(), policy, { name: 'one', past: noPast }, references, at).enough;
    assert.deepEqual(enough(policyOf('require: [identity]'), []), ['ima']);
    assert.deepEqual(enough(policyOf('require: [identity]'), [known]), []);
    assert.deepEqual(enough(policyOf('require: [identity]', 'runtime: {}'), []), []);
    assert.deepEqual(enough(runtimePolicy(), []), []);
  });
});

describe('rules of what a node may run', () => {
  const node = () => good().run(evil);
  for (const [what, lines, codes] of [
    ['exclude a path', ['exclude: ["/usr/bin/ev*"]'], []],
    ['exclude another path', ['exclude: ["/opt/*"]'], ['ima_unknown_file fail']],
    ['deny a path', ['deny: ["/usr/bin/a"]', 'exclude: ["*"]'], ['ima_denied_file fail']],
    [
      'deny a digest, whoever knows it',
      [`deny: [${digestOf('a')}]`, 'exclude: ["*"]'],
      ['ima_denied_file fail'],
    ],
    ['deny what did not run', [`deny: [${digestOf('c')}, "/tmp/*"]`, 'exclude: ["*"]'], []],
    ['keep containers apart', ['containers: {paths: ["/usr/bin/e*"]}'], []],
    [
      'judge containers',
      ['containers: {paths: ["/usr/bin/e*"], references: [images]}'],
      ['ima_unknown_file fail'],
    ],
  ] as const)
    it(`${what}: ${codes.join(', ') || 'nothing is wrong'}`, () =>
      assert.deepEqual(codesOf(judged(node().answer(), [known], runtimePolicy(...lines))), codes));

  it('know what containers run by their own references alone', () => {
    const images = knowing({ '/app': 'evil' }, { name: 'images' });
    const apart = (...paths: readonly string[]) =>
      runtimePolicy(`containers: {paths: ${JSON.stringify(paths)}, references: [images]}`);
    assert.deepEqual(codesOf(judged(node().answer(), [known, images], apart('/usr/bin/evil'))), []);
    // The host may not run what is in an image, nor a container what is the host's.
    assert.deepEqual(codesOf(judged(node().answer(), [known, images], apart('/other'))), [
      'ima_unknown_file fail',
    ]);
    const [reason] = judged(node().answer(), [known, images], apart('/usr/bin/a', '/usr/bin/evil')).reasons;
    assert.match(reason?.text ?? '', /in a container/);
  });

  for (const [word, codes, affirmed] of [
    ['any', [], true],
    ['report', ['ima_unknown_file info'], true],
    ['exact', ['ima_unknown_file fail'], false],
  ] as const)
    it(`take a known file at another path: ${word}`, () => {
      const moved = good().run(file('/tmp/a', 'a'));
      const verdict = judged(moved.answer(), [known], runtimePolicy(`paths: ${word}`));
      assert.deepEqual([codesOf(verdict), verdict.state === 'trusted'], [codes, affirmed]);
      assert.equal(judged(good().answer(), [known], runtimePolicy(`paths: ${word}`)).state, 'trusted');
    });

  for (const [lines, code] of [
    [[], 'ima_violation warn'],
    [['violations: fail'], 'ima_violation fail'],
    [['violations: ignore'], undefined],
    [['violations: fail', 'violationsExcept: ["/var/log/*"]'], undefined],
    [['violations: fail', 'violationsExcept: ["/var/lib/*"]'], 'ima_violation fail'],
  ] as const)
    it(`weigh violations: ${lines.join(', ') || 'by default'} (row 47)`, () => {
      const verdict = judged(good().run(violated('/var/log/x')).answer(), [known], runtimePolicy(...lines));
      assert.deepEqual(codesOf(verdict)[0], code);
      assert.equal(verdict.state, code?.endsWith('fail') ? 'untrusted' : 'trusted');
    });

  it('find a denied path also where its content is not known', () =>
    assert.deepEqual(
      codesOf(judged(good().run(violated('/tmp/x')).answer(), [known], runtimePolicy('deny: ["/tmp/*"]'))),
      ['ima_denied_file fail'],
    ));
});

describe('a file that somebody signed', () => {
  const signed =
    signatures.files.find(
      ({ kind, key, algorithm }) => kind === 'ima' && key === 'rsa2048' && algorithm === 'sha256',
    ) ?? assert.fail();
  const key = (name: string) => signatures.keys[name]?.publicKey ?? assert.fail();
  const node = () => new RunningNode().run(signedFile('/opt/signed', signed.digest, signed.signature));
  const signers = (...names: readonly string[]) =>
    runtimePolicy(`signers: ${JSON.stringify(names.map(key))}`);
  const unknown = ['ima_unknown_file fail'];

  it('is known where the policy names the key, without any reference', () =>
    assert.equal(judged(node().answer(), [], signers('rsa2048')).state, 'trusted'));

  for (const [what, list, policy, codes] of [
    ['by another key', node(), signers('ec-P-256'), unknown],
    ['and another one that is not', node().run(evil), signers('rsa2048'), unknown],
    [
      'that has other bytes',
      new RunningNode().run(signedFile('/opt/signed', Buffer.alloc(32, 1), signed.signature)),
      signers('rsa2048'),
      unknown,
    ],
  ] as const)
    it(`is unknown ${what}`, () => assert.deepEqual(codesOf(judged(list.answer(), [], policy)), codes));

  it('is refused all the same where it was revoked', () => {
    const list = DigestList.of([{ digest: signed.digest, path: '/opt/signed', package: null }]);
    const files = { files: list.toBytes().toString('base64'), count: 1 };
    const revoked: Reference = { ...known, name: 'bad', state: 'revoked', runtime: files };
    assert.deepEqual(codesOf(judged(node().answer(), [known, revoked], signers('rsa2048'))), [
      'revoked_reference fail',
    ]);
  });
});

describe('what the kernel measured itself', () => {
  const keys = (keyring: string, data: string) =>
    knowing(
      { '/usr/bin/a': 'a', '/usr/bin/b': 'b' },
      { runtime: { keyrings: [{ keyring, digest: digestOf(data), description: 'ours' }] } },
    );
  for (const [name, reference, code] of [
    ['.ima', known, 'ima_unknown_file fail'],
    ['.ima', keys('.ima', 'data'), undefined],
    ['.ima', keys('.ima', 'other'), 'ima_unknown_file fail'],
    ['.ima', keys('.evm', 'data'), 'ima_unknown_file fail'],
    ['kexec-cmdline', known, 'ima_unknown_file fail'],
    ['kexec-cmdline', keys('kexec-cmdline', 'data'), undefined],
    ['a-word-of-a-later-kernel', known, 'ima_unknown_file fail'],
    ['kernel_version', known, undefined],
    ['kernel_version', keys('kernel_version', 'other'), 'ima_unknown_file fail'],
    ['selinux-state', known, undefined],
    ['selinux-policy-hash', known, undefined],
    ['dm_table_load', known, undefined],
  ] as const)
    it(`${name} is ${code === undefined ? 'known' : 'unknown'} by ${reference.runtime?.keyrings?.map(({ keyring }) => keyring) ?? 'files alone'}`, () => {
      const verdict = judged(good().run(measured(name, 'data')).answer(), [reference]);
      assert.equal(codesOf(verdict)[0], code);
    });

  it('is unknown where a file with an attribute of its own bytes can be called so', () => {
    const [script, name] = ['\x03\nevil\n', 'kernel_version'];
    const node = good().run(signedFile(name, Buffer.from(digestOf(script), 'hex'), Buffer.from(script)));
    const shown = good().run(measured(name, script)).list;
    const verdict = judged(node.answer('whole', shown), [known]);
    assert.deepEqual(codesOf(verdict), ['ima_unknown_file fail']);
  });

  it('is critical data though the digest of a policy begins as a signature does', () => {
    const policy = `\x05${'p'.repeat(31)}`;
    for (const [data, code] of [
      [policy, undefined],
      [`${policy}p`, 'ima_unknown_file fail'],
    ] as const) {
      const verdict = judged(good().run(measured('selinux-policy-hash', data)).answer(), [known]);
      assert.equal(codesOf(verdict)[0], code);
    }
  });
});

describe('the IMA policy in force', () => {
  const weak = 'ima_policy_weak fail';
  const all = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' });
  const withPolicy = (covers: NonNullable<NonNullable<Reference['runtime']>['policies']>[number]['covers']) =>
    knowing(
      { '/usr/bin/a': 'a', '/usr/bin/b': 'b', '/etc/ima/ima-policy': 'policy' },
      { runtime: { policies: [{ digest: digestOf('policy'), covers, description: 'ours' }] } },
    );
  const loaded = () => good().run(file('/etc/ima/ima-policy', 'policy'));

  it('is in a file that is known where a reference names the policy, and lists no file', () => {
    const policies = [{ digest: digestOf('policy'), covers: ['exec' as const], description: 'ours' }];
    const own = knowing({}, { name: 'own', runtime: { policies } });
    for (const paths of ['any', 'exact']) {
      const policy = policyOf(
        'require: [runtime]',
        'runtime:',
        `  paths: ${paths}`,
        '  policy: {covers: [exec]}',
      );
      assert.deepEqual(codesOf(judged(loaded().answer(), [all, own], policy)), []);
      assert.equal(codesOf(judged(loaded().answer(), [all], policy))[0], 'ima_unknown_file fail');
    }
  });

  for (const [what, node, reference, lines, code] of [
    ['is narrower than what is wanted by default (row 110)', good(), all, ['policy: {}'], weak],
    ['covers what is wanted', good(), all, ['policy: {covers: [exec, mmap]}'], undefined],
    ['covers kexec by the files that root reads', good(), all, ['policy: {covers: [kexec]}'], undefined],
    ['may be signed or not', good(), all, ['policy: {covers: [exec], signed: report}'], undefined],
    [
      'must be signed, and the command line does not say so',
      good(),
      all,
      ['policy: {covers: [exec], signed: required}'],
      weak,
    ],
    ['is a file that covers it', loaded(), withPolicy(['exec']), ['policy: {covers: [exec]}'], undefined],
    [
      'is a file that covers less (row 110)',
      loaded(),
      withPolicy(['exec']),
      ['policy: {covers: [exec, mmap]}'],
      weak,
    ],
    [
      'is a file that covers less, below a path of containers',
      good().run(file('/c/policy', 'policy')),
      withPolicy(['exec']),
      ['policy: {covers: [exec, mmap]}', 'containers: {paths: ["/c/*"]}'],
      weak,
    ],
    [
      'is a file that covers more than the kernel did before',
      loaded(),
      withPolicy(['exec', 'keys']),
      ['policy: {covers: [keys]}'],
      weak,
    ],
    [
      'puts entries where nothing is proven of them',
      good().run(elsewhere(evil), file('/usr/bin/b', 'b')),
      all,
      ['policy: {covers: [exec]}'],
      weak,
    ],
    [
      'is that of a kernel that kexec started',
      good().kexec(),
      all,
      ['policy: {covers: [exec]}'],
      'facts_unavailable fail',
    ],
  ] as const)
    it(what, () => {
      const policy = policyOf('require: [runtime]', 'runtime:', ...lines.map((line) => `  ${line}`));
      const verdict = judged(node.answer(), [reference], policy);
      assert.equal(codesOf(verdict)[0], code);
      const broken = code === weak ? 'untrusted' : 'pending';
      assert.equal(verdict.state, code === undefined ? 'trusted' : broken);
    });

  it('is weak from the answer on that shows such an entry', () => {
    const node = good();
    const proofs = [node.answer(), node.run(elsewhere(evil), file('/usr/bin/b', 'b')).answer('new')];
    const verdicts = inTurn(createAppraiser(runtimePolicy(), [all]), proofs);
    assert.deepEqual(verdicts.map(codesOf), [[], [weak]]);
  });

  it('is not known where the TPM vouches for no command line: nobody is accused for a log that came late', () => {
    const proven = provenByHand(good().answer(), { boot: null });
    const verdict = judged(proven, [all]);
    assert.deepEqual([verdict.state, codesOf(verdict)], ['pending', ['facts_unavailable fail']]);
  });

  it('is judged anew where the node no longer says the command line, under equal digests', () => {
    const proven = good().answer();
    const { boot } = proven;
    assert.ok(boot);
    const facts = { ...bare, host: { commandLine: 'ro quiet' } };
    const saying = provenByHand(proven, { facts, boot: bootByHand(boot) });
    const state = { ...plainState(boot.state), commandLines: [] };
    const silent = provenByHand(proven, { facts: bare, boot: bootByHand({ ...boot, state }) });
    const verdicts = inTurn(createAppraiser(runtimePolicy(), [all]), [silent, saying, silent]);
    const unproven = ['facts_unavailable fail'];
    assert.deepEqual(verdicts.map(codesOf), [unproven, [], unproven]);
  });

  it('is vouched for by the reference that says what its file covers', () => {
    const policies = withPolicy(['exec']).runtime?.policies;
    const reference = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' }, { runtime: { policies } });
    const policy = policyOf('require: [runtime]', 'runtime:', '  policy: {covers: [exec]}');
    assert.equal(judged(loaded().answer(), [reference], policy).state, 'trusted');
    assert.equal(judged(loaded().answer(), [all], policy).state, 'untrusted');
  });
});

describe('a node that shows no list', () => {
  const withFacts = (proven: Proven, change: Partial<Proven>) => provenByHand(proven, change);
  const saying = (cause: string): Proven['facts'] => {
    const { facts } = good().answer();
    return { ...(facts ?? bare), unavailable: { ima: cause } };
  };
  const none = () => withFacts(good().answer(), { ima: null });

  it('is pending with a warning where that is required, and else nothing is said', () => {
    const verdict = judged(none(), [known]);
    assert.deepEqual([verdict.state, codesOf(verdict)], ['pending', ['ima_incomplete warn']]);
    assert.equal(verdict.aspects.runtime?.status, 'warning');
    const free = policyOf('require: [identity]', 'runtime: {}');
    const { verdict: other } = appraise(none(), free, { name: 'one' }, [], at);
    assert.equal(other.aspects.runtime, undefined);
  });

  it('is untrusted where it showed one before, unless it was once, or says why', () => {
    const appraiser = () => createAppraiser(runtimePolicy(), [known]);
    const first = good().answer();
    const without = none();
    const why = withFacts(without, { facts: saying('EACCES') });
    const codes = (...answers: readonly Proven[]) =>
      inTurn(appraiser(), answers).map((verdict) => [verdict.state, ...codesOf(verdict)].join(' '));
    const unread = 'pending facts_unavailable fail';
    assert.deepEqual(codes(first, without, without), ['trusted', unread, 'untrusted ima_incomplete fail']);
    assert.deepEqual(codes(first, without, why, why), ['trusted', unread, unread, unread]);
    assert.deepEqual(codes(first, without, first, without), ['trusted', unread, 'trusted', unread]);
  });

  it('does not get rid of what was found by that', () => {
    const node = good().run(evil);
    const bad = node.answer();
    const why = withFacts(bad, { ima: null, facts: saying('EACCES') });
    const verdicts = inTurn(createAppraiser(runtimePolicy(), [known]), [bad, why, why]);
    assert.deepEqual(
      verdicts.map(({ state }) => state),
      ['untrusted', 'untrusted', 'untrusted'],
    );
    assert.deepEqual(codesOf(verdicts[2] ?? assert.fail()), [
      'ima_unknown_file fail',
      'facts_unavailable fail',
    ]);
  });

  it('says at which entry a list is malformed (row 48), or leads elsewhere (row 46)', () => {
    const node = good().run(evil);
    const forged = Buffer.from(node.list);
    forged.write('evil', forged.length - 6, 'latin1');
    const other = judged(node.answer('whole', forged), [known]);
    assert.deepEqual([other.state, codesOf(other)], ['untrusted', ['ima_incomplete fail']]);
    const cut = judged(node.answer('whole', node.list.subarray(0, -3)), [known]);
    assert.deepEqual(codesOf(cut), ['ima_malformed fail']);
    assert.match(cut.reasons[0]?.actual ?? '', /^entry 3, offset \d+/);
  });

  it('is judged by what came before its quote alone (row 46)', () => {
    const node = good();
    const longer = new RunningNode().run(file('/usr/bin/a', 'a'), file('/usr/bin/b', 'b'), evil).list;
    assert.equal(judged(node.answer('whole', longer), [known]).state, 'trusted');
  });
});

describe('a list that grows', () => {
  it('is judged from where it was judged before, and stays what it was', () => {
    const appraiser = createAppraiser(runtimePolicy(), [known]);
    const node = good();
    const answers = [
      node.answer('new'),
      node.run(file('/usr/bin/a', 'a')).answer('new'),
      node.run(evil).answer('new'),
      node.run(file('/usr/bin/b', 'b')).answer('new'),
    ];
    const times = [at, at + 1000, at + 2000, at + 3000];
    const verdicts = inTurn(appraiser, answers, times);
    assert.deepEqual(
      verdicts.map(({ state }) => state),
      ['trusted', 'trusted', 'untrusted', 'untrusted'],
    );
    // The same reason in each verdict, since when included: nothing is written down anew.
    assert.deepEqual(verdicts[3]?.reasons, verdicts[2]?.reasons);
    assert.match(verdicts[3]?.reasons[0]?.detail?.[0] ?? '', /first seen 2026-11-25T12:00:02.000Z/);
    const last = answers.at(-1)?.ima;
    assert.ok(last !== null && last !== undefined && 'head' in last);
    assert.equal(appraiser.judgedTo({ name: 'one' }), last.head);
  });

  it('is not taken for that of the boot before, in which as much was seen', () => {
    const boots = [violated('/x'), evil].map((last) => good().run(violated('/y'), last).answer());
    const [before = assert.fail(), after = assert.fail()] = boots;
    const verdicts = inTurn(createAppraiser(runtimePolicy(), [known]), [before, before, after]);
    const seen = ['ima_violation warn'];
    assert.deepEqual(verdicts.map(codesOf), [seen, seen, ['ima_unknown_file fail', ...seen]]);
  });

  it('is never affirmed by its end alone, and is wanted from its begin then', () => {
    const node = good();
    const [, second] = [node.answer('new'), node.run(file('/usr/bin/a', 'a')).answer('new')];
    const appraiser = createAppraiser(runtimePolicy(), [known]);
    const verdict = appraiser(second, { name: 'one' }, at).verdict;
    const { source, code } = verdict.reasons.find(({ aspect }) => aspect === 'runtime') ?? {};
    assert.deepEqual([verdict.state, code, source], ['pending', 'facts_unavailable', 'server']);
    assert.equal(appraiser.judgedTo({ name: 'one' }), null);
    assert.equal(judged(node.answer('whole'), [known]).state, 'trusted');
  });

  it('is judged ahead in steps, by which judging itself has nothing left to do', () => {
    const appraiser = createAppraiser(runtimePolicy(), [known]);
    const proven = good().run(evil).answer();
    for (const _ of appraiser.ahead(proven, { name: 'one' }, at));
    assert.equal(
      appraiser.judgedTo({ name: 'one' }),
      proven.ima !== null && 'head' in proven.ima && proven.ima.head,
    );
    assert.equal(appraiser(proven, { name: 'one' }, at).verdict.state, 'untrusted');
  });

  it('is compared with one reference in steps, too', () => {
    const long = Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`/${index}`, `${index}`]));
    const isLike = likenessTo(knowing(long)) ?? assert.fail();
    assert.ok([...isLike(good().answer(), 'one', groupOf(runtimePolicy(), 'one', {}), at)].length >= 4);
  });

  it('keeps what was judged of one node while its references were made ready for another one', () => {
    // One that no other test has made ready.
    const fresh = knowing({ '/usr/bin/fresh': 'fresh' });
    const appraiser = createAppraiser(runtimePolicy(), [fresh]);
    const [one, two] = [good().answer(), good().answer()];
    const first = appraiser.ahead(one, { name: 'one' }, at)[Symbol.iterator]();
    const second = appraiser.ahead(two, { name: 'two' }, at)[Symbol.iterator]();
    assert.equal(first.next().done, false);
    while (second.next().done !== true);
    while (first.next().done !== true);
    assert.deepEqual(
      ['one', 'two'].map((name) => appraiser.judgedTo({ name }) === null),
      [false, false],
    );
  });

  it('is judged in the smaller steps, the more globs each name is compared with', () => {
    const proven = good()
      .run(...Array.from({ length: 200 }, (_, i) => file(`/opt/${i}`)))
      .answer();
    const stepsBy = (globs: number) => {
      const lines = Array.from({ length: globs }, (_, i) => `"/opt/*${i}/*"`).join();
      const policy = runtimePolicy(...(globs === 0 ? [] : [`exclude: [${lines}]`]));
      return [...createAppraiser(policy, [known]).ahead(proven, { name: 'one' }, at)].length;
    };
    assert.equal(stepsBy(0), 0);
    assert.ok(stepsBy(256) > 40);
  });

  it('shows some of many unknown files, and says that there are more', () => {
    const node = good();
    for (let i = 0; i < 40; i++) node.run(file(`/opt/${i}`));
    const [reason] = judged(node.answer(), [known]).reasons;
    assert.match(reason?.text ?? '', /more than 32 files/);
    assert.equal(reason?.detail?.length, 32);
  });
});

describe('a reference of what a node ran', () => {
  const policy = runtimePolicy();
  const about = { name: 'captured', state: 'active', by: 'me', at } as const;
  const capture = (proven: Proven, only: readonly string[] | null = null) =>
    atOnce(
      captureReferencesInSteps('runtime', [{ node: 'one', proven }], groupOf(policy, 'one', {}), {
        ...about,
        only,
      }),
    );

  it('makes the node trusted, and a sibling that ran the same', () => {
    const node = good().run(measured('.ima', 'key'), violated('/var/log/x'));
    const [made] = capture(node.answer());
    assert.ok(made !== undefined && referenceSchema.safeParse(made).success);
    assert.deepEqual([made.runtime?.count, made.runtime?.keyrings?.length], [2, 1]);
    assert.equal(judged(node.answer(), [made]).state, 'trusted');
    assert.equal(judged(new RunningNode().run(file('/usr/bin/b', 'b')).answer(), [made]).state, 'trusted');
    assert.equal(judged(new RunningNode().run(evil).answer(), [made]).state, 'untrusted');
  });

  it('has a file that was measured under the bare name of the kernel’s own entries, and not those', () => {
    const node = good().run(file('boot_aggregate', 'mine'));
    const [made] = capture(node.answer());
    assert.equal(made?.runtime?.count, 3);
    const codes = codesOf(judged(node.answer(), [made ?? assert.fail()]));
    assert.ok(!codes.includes('ima_unknown_file fail'));
  });

  it('allows one file alone', () => {
    const node = good().run(evil, file('/usr/bin/worse', 'worse'));
    for (const which of [digestOf('evil'), '/usr/bin/evil']) {
      const [made] = capture(node.answer(), [which]);
      assert.equal(made?.runtime?.count, 1);
      const [reason] = judged(node.answer(), [known, made ?? assert.fail()]).reasons;
      assert.equal(reason?.actual, `/usr/bin/worse sha256:${digestOf('worse')}`);
    }
  });

  it('allows one key alone', () => {
    const node = good().run(measured('.ima', 'key'), measured('.ima', 'other'));
    const [made] = capture(node.answer(), [digestOf('key')]);
    assert.deepEqual([made?.runtime?.count, made?.runtime?.keyrings?.length], [0, 1]);
    const [reason] = judged(node.answer(), [known, made ?? assert.fail()]).reasons;
    assert.equal(reason?.actual, `.ima sha256:${digestOf('other')}`);
  });

  it('is not made of the end of a list, of none, or of one that leads elsewhere', () => {
    const node = good();
    node.answer('new');
    const end = node.run(evil).answer('new');
    const none = provenByHand(end, { ima: null });
    const elsewhere = new RunningNode().run(evil).answer('whole', good().list);
    for (const proven of [end, none, elsewhere])
      assert.throws(() => capture(proven), { name: 'CaptureError' });
  });

  it('is not made of what the policy denies', () => {
    const denying = runtimePolicy('deny: ["/usr/bin/evil"]');
    const answers = [{ node: 'one', proven: good().run(evil).answer() }];
    assert.throws(
      () =>
        atOnce(
          captureReferencesInSteps('runtime', answers, groupOf(denying, 'one', {}), { ...about, only: null }),
        ),
      {
        code: 'ima_denied_file',
      },
    );
  });
});
