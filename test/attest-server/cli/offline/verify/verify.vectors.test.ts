import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../../../attest-server/cli/offline/verify/verify.ts';
import type { EarlierBundle } from '../../../../../attest-server/formats/bundle.ts';
import type { Reference } from '../../../../../attest-server/formats/reference.ts';
import { captureReference } from '../../../../../attest-server/policy/boot/capture.ts';
import { parsePolicy } from '../../../../../attest-server/policy/file/policy-file.ts';
import { checkAttestationKey } from '../../../../../attest-server/verify/attestation-key.ts';
import { trustRoots } from '../../../../../attest-server/verify/endorsement-chain.ts';
import { verify } from '../../../../../attest-server/verify/verify.ts';
import { parseCertificate } from '../../../../../attest-server/verify/x509/certificate.ts';
import { qualifyingData } from '../../../../../attest-server/wire/binding.ts';
import { bootPolicy } from '../../../boot-policy.ts';
import { partOf } from '../../../verify/made-by-hand.ts';
import { madeQuote } from '../../../verify/made-quote.ts';
import { softwareKey } from '../../../verify/software-key.ts';
import { runAssay } from '../../cli-fixture.ts';
import { recordedBundle } from '../recorded-bundle.ts';

const recorded = join(import.meta.dirname, '../../../../../swtpm-fixtures/recorded');
const read = (...path: string[]) => readFileSync(join(recorded, ...path));
const now = Date.parse('2026-12-01T12:00:00.000Z');
const bootOnly = parsePolicy(
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: default, nodes: ["*"], require: [boot]}\n',
  'boot-only.yaml',
);

describe('a bundle judged offline', () => {
  const log = read('debian13-shim-grub', 'binary_bios_measurements');
  const withLog = recordedBundle('quote-vm-shim-grub', { bootLog: log.toString('base64') });
  const judge = (bundle: EarlierBundle, judgement: object = {}) =>
    verifyBundle(JSON.stringify(bundle), { now, ...judgement });
  let reference: Reference;

  before(() => {
    reference = referenceOf(withLog, log);
  });

  for (const name of [
    'quote-vm-shim-grub',
    'quote-vm-ecdsa',
    'quote-vm-four-banks',
    'quote-vm-critical-data',
    'quote-gce-three-banks',
    'quote-swtpm-rsassa',
  ])
    it(`is authentic and not judged without a policy: ${name}`, () => {
      const { verdict, rejected } = judge(recordedBundle(name));
      assert.deepEqual([verdict.state, verdict.reasons, rejected], ['unknown', [], false]);
    });

  it('is trusted where its boot is the referenced one', () => {
    const { verdict } = judge(withLog, { policy: bootOnly, references: [reference] });
    assert.deepEqual([verdict.state, verdict.earStatus, verdict.from], ['trusted', 'affirming', undefined]);
  });

  it('says in JSON, too, what to do next about each reason', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'assay-verify-'));
    const file = join(dir, 'bundle.json');
    writeFileSync(file, JSON.stringify(withLog));
    const { out } = await runAssay(['verify', file, '--policy', 'strict', '-o', 'json']);
    rmSync(dir, { recursive: true });
    const { reasons }: { reasons: readonly { code: string; next: string }[] } = JSON.parse(out);
    assert.ok(reasons.length > 0);
    for (const { code, next } of reasons) assert.ok(next.length > 0, code);
  });

  it('says what the boot was, as far as the quote vouches for it, also where no policy judges', () => {
    const { boot } = judge(withLog).verdict;
    assert.ok(boot);
    const { enabled, authorities, machineOwner, databases } = boot.secureBoot;
    assert.deepEqual(
      [enabled, authorities.map(({ source }) => source), machineOwner[0], databases.map(({ name }) => name)],
      [true, ['db', 'MokListRT'], { name: 'MokList', content: 'vendor' }, ['PK', 'KEK', 'db', 'dbx']],
    );
    assert.match(boot.commandLines[0] ?? '', /^console=ttyS0 .* init=\/opt\/vm\/init\.sh$/);
    assert.deepEqual(
      boot.images.map(({ stage, pcr }) => `${stage} ${pcr}`),
      ['loader 4', 'loader 4', 'kernel 9', 'kernel 4', 'initrd 9', 'initrd 9'],
    );
    assert.deepEqual([boot.firmwareVersion, boot.problems], ['2025.02-8+deb13u1', []]);
  });

  it('is not trusted for an identity that nobody vouches for, and does not show one', () => {
    const { verdict } = judge(withLog, { policy: bootPolicy, references: [reference] });
    assert.equal(verdict.state, 'pending');
    assert.deepEqual(
      verdict.reasons.map(({ code }) => code),
      ['identity_unproven', 'facts_unavailable'],
    );
    assert.deepEqual(['identity' in verdict.aspects, 'boot' in verdict.aspects], [false, true]);
  });

  it('is untrusted where the log is not that of the quoted boot', () => {
    const other = read('debian13-shim-grub-kernel', 'binary_bios_measurements').toString('base64');
    const { verdict, rejected } = judge(
      { ...withLog, bootLog: other },
      { policy: bootOnly, references: [reference] },
    );
    assert.deepEqual([verdict.state, rejected], ['untrusted', false]);
    assert.ok(verdict.reasons.some(({ code }) => code === 'log_replay_mismatch'));
  });

  it('takes the exporter’s word from its context, and says so', () => {
    const context = { at: new Date(now).toISOString(), policy: bootOnly.text, references: [reference] };
    const { verdict } = judge({ ...withLog, context });
    assert.deepEqual([verdict.state, verdict.from], ['trusted', 'context']);
    const flagsWin = judge({ ...withLog, context }, { policy: bootOnly, references: [] });
    assert.deepEqual([flagsWin.verdict.state, flagsWin.verdict.from], ['pending', undefined]);
  });

  it('says that labels, by which a policy chooses its group, are the exporter’s word', () => {
    const context = { at: new Date(now).toISOString(), labels: { gpu: 'true' } };
    const notes = (policy: typeof bootOnly) =>
      judge({ ...withLog, context }, { policy, references: [reference] }).verdict.notes?.length ?? 0;
    const byLabels = parsePolicy(bootOnly.text.replace('nodes:', 'labels: {gpu: "true"}, nodes:'), 'p');
    assert.deepEqual([notes(bootOnly), notes(byLabels)], [0, 1]);
  });

  it('is untrusted where the reset counter went back', () => {
    const previous = { resetCount: 4_000_000_000, restartCount: 0, clock: '0' };
    const { verdict } = judge({ ...withLog, previous }, { policy: bootOnly, references: [reference] });
    assert.deepEqual([verdict.state, verdict.reasons[0]?.code], ['untrusted', 'counter_rollback']);
  });

  describe('with its endorsement', () => {
    const pem = (name: string) => read('quote-vm-shim-grub', name).toString();
    const der = (name: string) => Buffer.from(pem(name).replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const rootsOf = (...names: readonly string[]) =>
      trustRoots(
        names.map((name) => parseCertificate(der(name), name)),
        [],
      );
    const endorsement = {
      publicArea: read('quote-vm-shim-grub', 'ek.pub').toString('base64'),
      certificate: read('quote-vm-shim-grub', 'ek.der').toString('base64'),
      chain: [der('issuer.pem').toString('base64')],
    };
    const endorsed: EarlierBundle = { ...withLog, endorsement };
    const judgement = { policy: bootPolicy, references: [] };

    it('is trusted where a given root vouches for the certificate', () => {
      const roots = rootsOf('root.pem');
      const primary = { ...endorsed, ...asPrimaryKey(withLog) };
      const { verdict } = judge(primary, { policy: bootPolicy, references: [reference], roots });
      assert.deepEqual([verdict.state, verdict.aspects.identity?.status], ['trusted', 'affirming']);
    });

    it('is rejected for an attestation key that is no primary key', () => {
      assert.equal(judge(endorsed).verdict.reasons[0]?.code, 'ak_hierarchy');
    });

    const untrusted: readonly (readonly [string, string, EarlierBundle, object])[] = [
      ['no root that vouches for it', 'ek_untrusted_root', endorsed, { roots: rootsOf() }],
      [
        'a chain with a gap',
        'ek_untrusted_root',
        { ...withLog, endorsement: { ...endorsement, chain: [] } },
        { roots: rootsOf('root.pem') },
      ],
      [
        'a certificate before its time',
        'ek_untrusted_root',
        endorsed,
        { roots: rootsOf('root.pem'), now: Date.parse('2020-01-01T00:00:00Z') },
      ],
      [
        'a certificate without its key',
        'ek_untrusted_root',
        { ...withLog, endorsement: { certificate: endorsement.certificate } },
        { roots: rootsOf('root.pem') },
      ],
      [
        'a certificate of another key',
        'ek_cert_key_mismatch',
        {
          ...withLog,
          endorsement: { ...endorsement, certificate: read('ek-rsaes-oaep', 'ek.der').toString('base64') },
        },
        { roots: rootsOf('root.pem') },
      ],
    ];
    for (const [what, code, bundle, more] of untrusted)
      it(`is rejected as ${code} for ${what}`, () => {
        const { verdict, rejected } = judge(bundle, { ...judgement, ...more });
        assert.deepEqual([rejected, verdict.reasons[0]?.code], [true, code]);
      });
  });

  describe('of our own nodes', () => {
    const facts = JSON.stringify({
      purpose: 'attest',
      node: 'node-1',
      bootId: '00000000-0000-4000-8000-000000000000',
      helloDigest: 'ab'.repeat(32),
    });
    const digest = (bytes: Buffer | string) => hash('sha256', bytes, 'hex');
    const binding = {
      nonce: '01'.repeat(32),
      channel: '02'.repeat(32),
      facts: digest(facts),
      bootLog: digest(log),
      keyRequest: '',
    };
    const signed = qualifyingData({
      nonce: Buffer.from(binding.nonce, 'hex'),
      channel: Buffer.from(binding.channel, 'hex'),
      facts: Buffer.from(binding.facts, 'hex'),
      bootLog: Buffer.from(binding.bootLog, 'hex'),
      keyRequest: Buffer.alloc(0),
    });
    const { qualifyingData: _, ...unbound } = {
      ...withLog,
      ...asPrimaryKey({ ...withLog, qualifyingData: signed }),
    };
    const ours: EarlierBundle = {
      ...unbound,
      binding,
      facts,
      endorsement: { publicArea: read('quote-vm-shim-grub', 'ek.pub').toString('base64'), certificate: null },
    };

    it('is judged as the server did, by its context alone', () => {
      const context = {
        at: new Date(now).toISOString(),
        node: 'node-1',
        policy: bootPolicy.text,
        references: [reference],
      };
      const { verdict } = judge({ ...ours, context });
      assert.deepEqual([verdict.state, verdict.from], ['trusted', 'context']);
    });

    it('still proves its boot where the facts are missing', () => {
      const { facts: _facts, ...withoutFacts } = ours;
      const { verdict } = judge(withoutFacts, { policy: bootOnly, references: [reference] });
      assert.equal(verdict.state, 'trusted');
    });

    const changed: readonly (readonly [string, Partial<EarlierBundle>])[] = [
      ['other facts', { facts: facts.replace('node-1', 'node-2') }],
      [
        'another log',
        { bootLog: read('debian13-shim-grub-kernel', 'binary_bios_measurements').toString('base64') },
      ],
      ['another nonce', { binding: { ...binding, nonce: '03'.repeat(32) } }],
      ['another channel', { binding: { ...binding, channel: '03'.repeat(32) } }],
      ['a key request that was not signed', { binding: { ...binding, keyRequest: '00' } }],
      ['a log that the binding leaves out', { binding: { ...binding, bootLog: '' } }],
    ];
    for (const [what, change] of changed)
      it(`is rejected as nonce_invalid for ${what}`, () => {
        const { verdict, rejected } = judge({ ...ours, ...change });
        assert.deepEqual([rejected, verdict.reasons[0]?.code], [true, 'nonce_invalid']);
      });
  });

  const flipped = (base64: string | undefined, at: number) => {
    const bytes = Buffer.from(base64 ?? '', 'base64');
    bytes[at < 0 ? bytes.length + at : at]! ^= 1;
    return bytes.toString('base64');
  };
  const quote = withLog.quotes[0]!;
  const rejections: readonly (readonly [string, string, () => EarlierBundle])[] = [
    [
      'a signature with a changed bit',
      'sig_invalid',
      () => ({ ...withLog, quotes: [{ ...quote, signature: flipped(quote.signature, -1) }] }),
    ],
    [
      'a quote with a changed bit',
      'sig_invalid',
      () => ({ ...withLog, quotes: [{ ...quote, attest: flipped(quote.attest, -1) }] }),
    ],
    ['another nonce', 'nonce_invalid', () => ({ ...withLog, qualifyingData: '00' })],
    [
      'another PCR value',
      'pcr_digest_mismatch',
      () => ({
        ...withLog,
        quotes: [{ ...quote, pcrs: { sha256: { ...quote.pcrs.sha256, '4': '00'.repeat(32) } } }],
      }),
    ],
    [
      'a PCR that does not exist',
      'malformed',
      () => ({ ...withLog, quotes: [{ ...quote, pcrs: { sha256: { '24': '00'.repeat(32) } } }] }),
    ],
    ['another attestation key', 'malformed', () => ({ ...withLog, attestationKey: 'AAAA' })],
    ['only SHA-1 PCRs', 'weak_bank', () => recordedBundle('quote-windows-sha1')],
    [
      'a log that cannot be parsed',
      'malformed',
      () => ({ ...withLog, bootLog: Buffer.from('no log').toString('base64') }),
    ],
    [
      'a policy in its context that is none',
      'malformed',
      () => ({ ...withLog, context: { at: new Date(now).toISOString(), policy: 'x' } }),
    ],
  ];
  for (const [what, code, make] of rejections)
    it(`is rejected as ${code} for ${what}`, () => {
      const { verdict, rejected } = judge(make());
      assert.deepEqual(
        [rejected, verdict.state, verdict.reasons.map((reason) => reason.code)],
        [true, 'unknown', [code]],
      );
    });

  it('is rejected as malformed where it is no bundle', () => {
    for (const text of ['', '{}', '[]', 'null', '{"version":1}'])
      assert.equal(verifyBundle(text, { now }).verdict.reasons[0]?.code, 'malformed');
  });

  describe('by the command', () => {
    let dir: string;
    before(() => {
      dir = mkdtempSync(join(tmpdir(), 'assay-verify-'));
      mkdirSync(join(dir, 'references'));
      mkdirSync(join(dir, 'roots'));
      writeFileSync(join(dir, 'references', 'debian.json'), JSON.stringify(reference));
      writeFileSync(join(dir, 'policy.yaml'), bootOnly.text);
      writeFileSync(join(dir, 'good.json'), JSON.stringify(withLog));
      writeFileSync(join(dir, 'bad.json'), JSON.stringify({ ...withLog, qualifyingData: '00' }));
      writeFileSync(join(dir, 'log'), log);
    });
    after(() => rmSync(dir, { recursive: true }));

    for (const [line, code, state] of [
      ['verify good.json -o json', 11, 'unknown'],
      ['verify bad.json -o json', 10, 'unknown'],
      ['verify good.json --policy policy.yaml --references references -o json', 0, 'trusted'],
      ['verify good.json --policy policy.yaml -o json', 11, 'pending'],
      ['verify good.json --policy strict --references references -o json', 11, 'pending'],
      ['verify good.json --policy missing.yaml', 1, null],
      ['verify good.json --policy policy.yaml --trust-roots roots', 1, null],
      ['verify missing.json', 1, null],
      ['eventlog log', 0, null],
      ['eventlog good.json', 1, null],
    ] as const)
      it(`exits with ${code} for assay ${line}`, async () => {
        const ran = await runAssay(line.split(' '), { cwd: dir });
        assert.equal(ran.code, code, ran.err);
        if (state !== null) assert.equal(JSON.parse(ran.out).state, state);
      });
  });
});

/** The recorded PCR values, quoted by a key that is named like a primary key of the endorsement hierarchy. */
function asPrimaryKey({
  qualifyingData: signs = '',
  quotes,
}: EarlierBundle): Pick<EarlierBundle, 'attestationKey' | 'quotes'> {
  const key = softwareKey('p256');
  const values = Object.values(quotes[0]?.pcrs.sha256 ?? {}).map((hex) => Buffer.from(hex, 'hex'));
  const made = madeQuote(key, Buffer.from(signs, 'hex'), {
    pcrs: { sha256: Buffer.concat(values) },
  });
  return {
    attestationKey: key.publicArea.toString('base64'),
    quotes: [
      {
        attest: made.attest.toString('base64'),
        signature: made.signature.toString('base64'),
        pcrs: quotes[0]?.pcrs ?? {},
      },
    ],
  };
}

function referenceOf(
  { quotes, attestationKey, qualifyingData: signs = '' }: EarlierBundle,
  log: Buffer,
): Reference {
  const [quote] = quotes;
  assert.ok(quote);
  const values = Object.entries(quote.pcrs.sha256 ?? {})
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, hex]) => Buffer.from(hex, 'hex'));
  const proven = verify(
    {
      quotes: [
        {
          attest: Buffer.from(quote.attest, 'base64'),
          signature: Buffer.from(quote.signature, 'base64'),
          pcrs: { sha256: Buffer.concat(values) },
        },
      ],
      facts: null,
      parts: { boot: partOf(log) },
    },
    {
      ak: checkAttestationKey(Buffer.from(attestationKey, 'base64')),
      ekDigest: null,
      judgeHierarchy: false,
      binding: { qualifyingData: signs },
      selection: null,
    },
  );
  const at = {
    name: 'debian',
    group: 'default',
    state: 'active',
    by: 'test',
    node: 'node-1',
    at: now,
  } as const;
  const { components, ...rest } = captureReference(proven, at);
  // As if the node had sent the file that its loader read.
  const seen = components.map((one) =>
    one.description.endsWith('/grub.cfg') ? { ...one, content: 'text' as const } : one,
  );
  return { ...rest, components: seen };
}
