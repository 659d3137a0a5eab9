import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { type Bundle, type EarlierBundle, parseBundle } from '../../../attest-server/formats/bundle.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { qualifyingData } from '../../../attest-server/wire/binding.ts';
import { type PartName, partNames } from '../../../attest-server/wire/evidence.ts';
import { madeQuote, madeValues } from '../verify/made-quote.ts';
import { softwareKey } from '../verify/software-key.ts';

const key = softwareKey('p256');
const values = madeValues(32);
const sha256 = (content: string | Buffer) => hash('sha256', content, 'hex');
const partOf = (text: string) => ({
  digest: sha256(text),
  bytes: Buffer.from(text).toString('base64'),
});

/** A quote over these facts, and what else the document has. */
function signed(facts: object, more: Partial<Bundle> = {}, bootLog = ''): Bundle {
  const text = JSON.stringify({
    purpose: 'attest',
    node: 'node-1',
    bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
    helloDigest: sha256('hello'),
    ...facts,
  });
  const binding = {
    nonce: '01'.repeat(32),
    channel: '02'.repeat(32),
    facts: sha256(text),
    bootLog,
    keyRequest: '',
  };
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const data = qualifyingData({
    nonce: bytes(binding.nonce),
    channel: bytes(binding.channel),
    facts: bytes(binding.facts),
    bootLog: bytes(binding.bootLog),
    keyRequest: Buffer.alloc(0),
  });
  const { attest, signature } = madeQuote(key, bytes(data), { pcrs: { sha256: values } });
  const pcrs = Array.from({ length: 24 }, (_, pcr) => [
    String(pcr),
    values.toString('hex', 32 * pcr, 32 * (pcr + 1)),
  ]);
  return {
    version: 2,
    attestationKey: key.publicArea.toString('base64'),
    binding,
    quotes: [
      {
        attest: attest.toString('base64'),
        signature: signature.toString('base64'),
        pcrs: { sha256: Object.fromEntries(pcrs) },
      },
    ],
    facts: text,
    parts: {},
    ...more,
  };
}

const proven = (bundle: Bundle) => verifyBundleEvidence(parseBundle(JSON.stringify(bundle)), null);

describe('the parts of evidence as a file', () => {
  it('have the digests that they are named by, or the file is malformed there', () => {
    for (const name of partNames) {
      const wrong = { digest: sha256('one'), bytes: Buffer.from('other').toString('base64') };
      assert.throws(() => parseBundle(JSON.stringify(signed({}, { parts: { [name]: wrong } }))), {
        code: 'malformed',
        field: `parts.${name}`,
      });
    }
  });

  const measured: readonly PartName[] = ['disk', 'firewall', 'inventory'];
  for (const name of measured)
    it(`count only where the signed facts name them: ${name}`, () => {
      const part = partOf(`what ${name} says`);
      assert.equal(
        proven(signed({ parts: { [name]: part.digest } }, { parts: { [name]: part } })).facts?.node,
        'node-1',
      );
      const others = [
        signed({}, { parts: { [name]: part } }),
        signed({ parts: { [name]: sha256('another day') } }, { parts: { [name]: part } }),
        signed({ parts: { [name]: sha256('another day') } }, { parts: { [name]: { digest: part.digest } } }),
      ];
      for (const bundle of others)
        assert.throws(() => proven(bundle), { code: 'nonce_invalid', field: `parts.${name}` });
    });

  it('may be missing where the facts name them, and known by their digest alone', () => {
    const parts = { disk: sha256('a header'), firewall: sha256('rules') };
    const named = { disk: { digest: parts.disk } };
    assert.deepEqual(proven(signed({ parts }, { parts: named })).facts?.parts, parts);
  });

  it('need no digest in the facts where they grow, and are none where the facts name another one', () => {
    const ima = partOf('measurements');
    assert.equal(proven(signed({}, { parts: { ima } })).facts?.node, 'node-1');
    assert.throws(() => proven(signed({ parts: { ima: sha256('others') } }, { parts: { ima } })), {
      code: 'nonce_invalid',
    });
  });

  it('are the log that the binding names, or none', () => {
    const boot = partOf('a log');
    assert.throws(() => proven(signed({}, { parts: { boot } }, sha256('another log'))), {
      code: 'nonce_invalid',
      field: 'parts.boot',
    });
    assert.throws(() => proven(signed({}, { parts: { boot: { digest: boot.digest } } })), {
      code: 'nonce_invalid',
    });
    // Its digest alone still proves who signed.
    assert.equal(proven(signed({}, { parts: { boot: { digest: boot.digest } } }, boot.digest)).boot, null);
  });
});

describe('evidence in its first form', () => {
  const bytes = (text: string) => Buffer.from(text).toString('base64');
  const { parts: _, ...rest } = signed({}, {}, sha256('log'));
  const first: EarlierBundle = { ...rest, previous: undefined, context: undefined, version: 1 };
  const read = (more: Partial<EarlierBundle>) => parseBundle(JSON.stringify({ ...first, ...more }));

  it('becomes parts by name, each with the digest of its bytes', () => {
    const { version, parts } = read({
      bootLog: bytes('log'),
      userspaceLog: bytes('later'),
      imaLog: bytes('ima'),
    });
    assert.deepEqual(
      [version, parts],
      [2, { boot: partOf('log'), userSpace: partOf('later'), ima: partOf('ima') }],
    );
  });

  it('names a log that is left out by what the quote signs', () => {
    assert.deepEqual(read({}).parts.boot, { digest: sha256('log') });
    const binding = { ...signed({}).binding, bootLog: '' };
    assert.equal(parseBundle(JSON.stringify({ ...first, binding })).parts.boot, undefined);
  });

  it('says which parts had been sent before', () => {
    const at = '2026-01-01T00:00:00Z';
    const sent = (context: EarlierBundle['context']) => read({ context }).context?.sentParts;
    assert.deepEqual(
      [sent({ at, sentBootLog: true }), sent({ at, sentBootLog: false }), sent({ at })],
      [['boot'], [], undefined],
    );
  });

  it('takes no name of a node that a shell or a terminal would obey: advice has it in commands (row 131)', () => {
    const { facts: _, ...rest } = signed({});
    for (const node of ['$(reboot)', 'node-1; reboot', 'node-1\n  reboot', '\u001b[2J', "node'1", '-f']) {
      const text = JSON.stringify({ ...rest, context: { at: '2026-11-20T12:00:00Z', node } });
      assert.throws(() => parseBundle(text), { code: 'malformed', field: 'context.node' }, node);
    }
  });
});
