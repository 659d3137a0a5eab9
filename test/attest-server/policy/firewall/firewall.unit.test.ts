import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Reference, reference as referenceSchema } from '../../../../attest-server/formats/reference.ts';
import { appraise, noPast } from '../../../../attest-server/policy/appraise.ts';
import { CaptureError } from '../../../../attest-server/policy/capture-error.ts';
import { PolicyError } from '../../../../attest-server/policy/file/policy-error.ts';
import { firewall } from '../../../../attest-server/policy/firewall/firewall.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { firewallPartOfFolder } from '../../../recorded/firewall-folder.ts';
import { policyOf } from '../made-proof.ts';
import { at, failing, judged, partWith, provenWith, recordedNode, referenceOf } from './made-firewall.ts';

const save = (rules: readonly string[], input = 'DROP', chains: readonly string[] = []) =>
  [
    '*filter',
    `:INPUT ${input} [0:0]`,
    ':FORWARD DROP [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    ...chains.map((name) => `:${name} - [0:0]`),
    ...rules,
    'COMMIT',
    '',
  ].join('\n');
const node = (rules: readonly string[], input?: string, chains?: readonly string[]): FirewallPart =>
  partWith({ iptables: { ip: save(rules, input, chains), ip6: save([]) } });

const rules = [
  '-A INPUT -i lo -j ACCEPT',
  '-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT',
  '-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT',
];
const good = node(rules);
const reference = referenceOf(good);

describe('the firewall of a node', () => {
  it('is affirmed by the reference that has its rules, by the word of the node', () => {
    const { state, aspects } = judged(good, [reference]);
    assert.equal(state, 'trusted');
    assert.deepEqual(aspects.firewall, { status: 'affirming', source: 'host', references: ['baseline'] });
  });

  it('is not affirmed by that word where the TPM must vouch', () => {
    const policy = policyOf('require: [{firewall: tpm}]');
    assert.equal(
      appraise(provenWith(good), policy, { name: 'one' }, [reference], at).verdict.state,
      'pending',
    );
  });

  it('is pending without a reference, and says what is wrong all the same', () => {
    const { state, reasons } = judged(good, []);
    assert.deepEqual([state, reasons[0]?.code, reasons[0]?.class], ['pending', 'no_reference', 'drift']);
    assert.deepEqual(failing(judged(good, [], ['forbid: ["input tcp 443 from anywhere"]'])), [
      'fw_policy_open',
      'no_reference',
    ]);
  });

  for (const [what, change] of [
    ['staged', { state: 'staged' }],
    ['retired', { state: 'retired' }],
    ['expired', { expires: new Date(at).toISOString() }],
    ['of another group', { group: 'others' }],
    ['of another kind', { kind: 'boot' }],
    ['without rules', { firewall: undefined }],
    ['with rules that cannot be read', { firewall: { 'iptables-save': '*filter' } }],
  ] as const)
    it(`has no reference in one that is ${what}`, () => {
      const { firewall: _, ...bare } = reference;
      const { firewall: rulesOf = 'firewall' in change ? change.firewall : reference.firewall, ...others } = {
        firewall: undefined,
        ...change,
      };
      const given: Reference = {
        ...bare,
        ...others,
        ...(rulesOf !== undefined &&
          !('firewall' in change && change.firewall === undefined) && { firewall: rulesOf }),
      };
      assert.deepEqual(failing(judged(good, [given])), ['no_reference']);
    });

  it('is like any of several, and is compared with the nearest', () => {
    const far = referenceOf(node(['-A INPUT -p udp -j ACCEPT']), 'far');
    assert.equal(judged(good, [far, reference]).state, 'trusted');
    const { reasons } = judged(node([...rules, '-A INPUT -j LOG']), [far, reference]);
    assert.deepEqual(
      reasons.map(({ code, reference: of }) => [code, of]),
      [['fw_drift', 'baseline']],
    );
  });

  it('has rules that were revoked, which an active reference does not mend', () => {
    const changed = {
      at: '2026-11-20T12:00:00Z',
      by: 'token:bob',
      action: 'revoke',
      from: 'active',
      reason: 'too open',
    } as const;
    const revoked: Reference = { ...reference, name: 'old', state: 'revoked', changed };
    const verdict = judged(good, [reference, revoked]);
    assert.deepEqual([verdict.state, failing(verdict)], ['untrusted', ['revoked_reference']]);
    assert.match(
      verdict.reasons[0]?.text ?? '',
      /old; token:bob revoked it on 2026-11-20T12:00:00Z \(too open\)/,
    );
    // Named or not, it counts for its group; for another group only where that names it.
    assert.deepEqual(failing(judged(good, [reference, revoked], ['baseline: baseline'])), [
      'revoked_reference',
    ]);
    const ofOthers: Reference = { ...revoked, group: 'others' };
    assert.deepEqual(failing(judged(good, [reference, ofOthers])), []);
    assert.deepEqual(failing(judged(good, [reference, ofOthers], ['baseline: [baseline, old]'])), [
      'revoked_reference',
    ]);
    // Rules that differ from what was revoked are not revoked.
    const other = {
      ...good,
      iptables: { ...good.iptables, ip: `${good.iptables.ip}`.replace('INPUT DROP', 'INPUT ACCEPT') },
    };
    assert.ok(!failing(judged(other, [reference, revoked])).includes('revoked_reference'));
  });

  it('differs, and is not called open, where it has more rules than are followed for each question', () => {
    const many = Array.from({ length: 25_000 }, (_, i) => `-A INPUT -s 10.${i >> 8}.${i & 255}.1/32 -j DROP`);
    const fewer = many.slice(0, 100);
    assert.deepEqual(failing(judged(node(many), [referenceOf(node(fewer))])), ['fw_drift']);
  });

  it('is compared with what its policy names alone', () => {
    const elsewhere: Reference = { ...reference, name: 'named', group: 'others' };
    assert.equal(judged(good, [elsewhere], ['baseline: named']).state, 'trusted');
    assert.equal(judged(good, [elsewhere], ['baseline: [other, named]']).state, 'trusted');
    assert.deepEqual(failing(judged(good, [reference], ['baseline: named'])), ['no_reference']);
  });

  it('shows rules in another order as moved (row 61)', () => {
    const [loopback = '', https = '', http = ''] = rules;
    const { reasons } = judged(node([loopback, http, https]), [reference]);
    const drift = reasons.find(({ code }) => code === 'fw_drift');
    assert.deepEqual(failing({ ...judged(node([loopback, http, https]), [reference]) }), ['fw_drift']);
    assert.deepEqual(
      [drift?.actual, drift?.detail],
      [
        '1 moved',
        [
          '@@ iptables ip filter INPUT @@',
          `  ${loopback}`,
          `- ${https} (moved to place 3)`,
          `  ${http}`,
          `+ ${https} (moved from place 2)`,
        ],
      ],
    );
  });

  it('says which policy turned to ACCEPT (row 61)', () => {
    const { reasons } = judged(node(rules, 'ACCEPT'), [reference]);
    const open = reasons.find(({ code }) => code === 'fw_policy_open');
    assert.equal(
      open?.actual,
      'iptables ip filter INPUT: policy drop in the baseline, hook input policy accept now',
    );
    const drift = reasons.find(({ code }) => code === 'fw_drift');
    assert.ok(
      drift?.detail?.some(
        (line) => line.startsWith('+ type filter hook input') && line.endsWith('policy accept'),
      ),
    );
  });

  it('finds that IPv6 was opened alone (row 61)', () => {
    const opened = partWith({ iptables: { ip: save(rules), ip6: null } });
    assert.deepEqual(failing(judged(opened, [reference])), [
      'fw_drift',
      'fw_missing_chain',
      'fw_policy_open',
    ]);
  });

  it('finds a drop that is gone, where the policy was ACCEPT all along (row 61)', () => {
    const before = node([...rules, '-A INPUT -j DROP'], 'ACCEPT');
    assert.deepEqual(failing(judged(node(rules, 'ACCEPT'), [referenceOf(before)])), [
      'fw_drift',
      'fw_policy_open',
    ]);
  });

  it('is no drift where somebody listed a table and so made it', () => {
    const listed: FirewallPart = {
      ...good,
      legacy: {
        ip: '*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n',
        ip6: null,
      },
    };
    assert.equal(judged(listed, [reference]).state, 'trusted');
    assert.equal(judged(good, [referenceOf(listed)]).state, 'trusted');
  });

  it('has rules of both kinds for one hook, which is told, and weighs less where the reference has it so (row 60)', () => {
    const both: FirewallPart = { ...good, legacy: { ip: save(['-A INPUT -j DROP']), ip6: null } };
    assert.deepEqual(failing(judged(both, [reference])), ['dual_tables', 'fw_drift']);
    const verdict = judged(both, [referenceOf(both)]);
    assert.deepEqual(
      [verdict.state, verdict.reasons.map(({ code, severity }) => [code, severity])],
      ['trusted', [['dual_tables', 'warn']]],
    );
  });

  it('must have the chains that the policy requires', () => {
    const required = (text: string) => failing(judged(good, [reference], [`require: ["${text}"]`]));
    assert.deepEqual(required('ip filter INPUT policy drop'), []);
    assert.deepEqual(required('iptables ip filter INPUT hook input policy drop'), []);
    assert.deepEqual(required('ip filter OUTPUT policy drop'), ['fw_policy_open']);
    assert.deepEqual(required('inet filter input policy drop'), ['fw_missing_chain']);
    assert.deepEqual(required('legacy ip filter INPUT'), ['fw_missing_chain']);
  });

  it('may not be open where the policy forbids it, also as the reference has it', () => {
    const verdict = judged(
      good,
      [reference],
      ['forbid: ["input tcp 443 from anywhere but 10.0.0.0/8", "input tcp 22 from anywhere"]'],
    );
    assert.equal(verdict.state, 'untrusted');
    assert.deepEqual(
      verdict.reasons.map(({ code, expected }) => [code, expected]),
      [['fw_policy_open', 'not open: input tcp 443 from anywhere but 10.0.0.0/8']],
    );
    assert.deepEqual(verdict.reasons[0]?.detail, [
      'input IPv4',
      '  iptables ip filter INPUT: -A INPUT -p tcp -m tcp --dport 443 -j ACCEPT',
    ]);
  });

  it('says what is no sentence of its language, with its line', () => {
    assert.throws(
      () =>
        policyOf(
          'require: [firewall]',
          'firewall:',
          '  forbid: ["input tcp 22"]',
          '  require: ["inet filter"]',
        ),
      (error: unknown) =>
        error instanceof PolicyError &&
        error.faults.map(({ line, field }) => `${line} ${field}`).join() ===
          '8 groups.0.firewall.forbid.0,9 groups.0.firewall.require.0',
    );
  });

  it('doubts rules that refuse nothing', () => {
    const [group] = policyOf('require: [identity]', 'firewall: {baseline: x}').groups;
    assert.ok(group !== undefined);
    assert.deepEqual(
      firewall.doubts(group.rules.firewall, group).map(({ path }) => path),
      [['firewall', 'baseline']],
    );
  });
});

describe('a firewall that cannot be read', () => {
  for (const [what, part] of [
    ['nothing was sent', null],
    ['no JSON was sent', Buffer.from('nothing')],
    ['another version was sent', Buffer.from('{"version":2}')],
    ['a text was cut off', partWith({ iptables: { ip: '*filter\n', ip6: null } })],
  ] as const)
    it(`is never green and never without rules: ${what}`, () => {
      const { state, aspects, reasons } = judged(part, [reference]);
      assert.deepEqual(
        [state, aspects.firewall?.status, reasons.map(({ code }) => code)],
        ['pending', 'none', ['fw_unreadable']],
      );
    });

  it('keeps what stood against the node until it is read again', () => {
    const policy = policyOf('require: [firewall]');
    const step = (part: FirewallPart | Buffer | null, memory = {}) =>
      appraise(provenWith(part), policy, { name: 'one', past: { ...noPast, memory } }, [reference], at);
    const changed = step(node(rules, 'ACCEPT'));
    assert.equal(changed.verdict.state, 'untrusted');
    let { memory } = changed.next;
    for (const garbage of [Buffer.from('{'), null]) {
      const hidden = step(garbage, memory);
      assert.deepEqual(
        [hidden.verdict.state, failing(hidden.verdict)],
        ['untrusted', ['fw_drift', 'fw_policy_open', 'fw_unreadable']],
      );
      memory = hidden.next.memory;
    }
    const again = step(good, memory);
    assert.equal(again.verdict.state, 'trusted');
    assert.equal(step(null, again.next.memory).verdict.state, 'pending');
  });
});

describe('a reference of the firewall', () => {
  it('is one that a file can hold', async () => {
    for (const folder of ['fw-01-worker-iptables-nft', 'fw-05-worker-nft', 'kube-proxy-iptables']) {
      const made = referenceOf(await firewallPartOfFolder(recordedNode(folder)));
      assert.deepEqual(referenceSchema.parse(JSON.parse(JSON.stringify(made))), made);
    }
  });

  it('leaves out the chains that a declared owner writes', async () => {
    const made = referenceOf(await firewallPartOfFolder(recordedNode('kube-proxy-iptables')));
    assert.ok(!JSON.stringify(made).includes('KUBE-SEP-'));
    assert.ok(JSON.stringify(made).includes('-j KUBE-PROXY-FIREWALL'));
  });

  it('is not made of a node that sent nothing, or nothing that can be read', () => {
    for (const part of [null, Buffer.from('{}'), partWith({ iptables: { ip: 'x', ip6: null } })])
      assert.throws(
        () =>
          firewall.capture?.(provenWith(part), {
            name: 'x',
            state: 'active',
            group: policyOf('require: [firewall]').groups[0]!,
            node: 'n',
            by: 'me',
            at,
          }),
        CaptureError,
      );
  });

  it('is written by a person in the words of the tools', async () => {
    const part = await firewallPartOfFolder(recordedNode('fw-05-worker-nft'));
    const { firewall: _, captured: __, ...bare } = reference;
    const written = { ...bare, firewall: { nft: JSON.stringify({ nftables: part.nft }) } };
    assert.equal(judged(part, [referenceSchema.parse(written)]).state, 'trusted');
  });
});
