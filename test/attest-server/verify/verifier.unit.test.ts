import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import type { ImaTail } from '../../../attest-server/verify/ima/prove-list.ts';
import { isProvenList } from '../../../attest-server/verify/ima/proven-list.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { QuoteEvidence } from '../../../attest-server/verify/quote.ts';
import { Verifier } from '../../../attest-server/verify/verifier.ts';
import { verify } from '../../../attest-server/verify/verify.ts';
import { capDigest } from '../../../attest-server/wire/cap.ts';
import type { Parts } from '../../../attest-server/wire/evidence.ts';
import { bankBytes } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { binaryOf, extendedTo, file } from './ima/made-list.ts';
import { partOf } from './made-by-hand.ts';
import { akOf, madeQuote } from './made-quote.ts';
import { rejectionOf } from './rejection-of.ts';
import { softwareKey } from './software-key.ts';

const folder = new URL('../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
const log = recordedLog('debian13-uki-systemd');
const boot = partOf(log);
const named = { digest: boot.digest, bytes: null };
const userSpace = partOf(readFileSync(new URL('tpm2-measure.log', folder)));
const held: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  readFileSync(new URL('pcrs.json', folder), 'utf8'),
);

const key = softwareKey('p256');
const other = softwareKey('p256');
const size = bankBytes.sha256;
const anything = '5a'.repeat(size);

/** What that machine held in SHA-256, all PCRs, with one of them as given. */
function valuesOf(pcr = 0, value = held.sha256?.[pcr] ?? ''): Buffer {
  const all = Array.from({ length: 24 }, (_, index) => held.sha256?.[index] ?? '');
  return Buffer.from(all.with(pcr, value).join(''), 'hex');
}

const expectedOf = (signer = key) =>
  ({
    ak: akOf(signer),
    ekDigest: null,
    judgeHierarchy: true,
    binding: { qualifyingData: '' },
    selection: null,
  }) as const;

function opened() {
  const verifier = new Verifier();
  const prove = (quote: QuoteEvidence, parts: Parts = {}, signer = key): Proven =>
    verifier.verify({ quotes: [quote], facts: null, parts }, expectedOf(signer));
  /** A fresh quote of these values. */
  const answer = (values: Buffer, parts: Parts = {}, signer = key): Proven =>
    prove(madeQuote(signer, Buffer.alloc(0), { pcrs: { sha256: values } }), parts, signer);
  return { verifier, prove, answer };
}

describe('a verifier', () => {
  it('proves what the stateless one does, from nothing and from memory', () => {
    const { prove } = opened();
    const quote = madeQuote(key, Buffer.alloc(0), { pcrs: { sha256: valuesOf() } });
    const parts = { boot, userSpace };
    const { boot: measured, ...rest } = verify({ quotes: [quote], facts: null, parts }, expectedOf());
    for (const proof of [
      prove(quote, parts),
      prove(quote, parts),
      prove(quote, { boot: named, userSpace }),
    ]) {
      const { boot: again, ...others } = proof;
      assert.deepEqual(others, rest);
      assert.deepEqual(again?.problems, measured?.problems);
      assert.deepEqual(again?.state.components, measured?.state.components);
      assert.deepEqual(again?.userSpace, measured?.userSpace);
      assert.equal(again?.userSpaceDigest, userSpace.digest);
    }
  });
});

describe('PCR values that a verifier has proven before', () => {
  it('are held once, in memory that nobody else writes to', () => {
    const { answer } = opened();
    const values = valuesOf();
    const { banks } = answer(values);
    values.fill(0);
    assert.equal(answer(valuesOf()).banks, banks);
    assert.deepEqual(banks[0]?.values, valuesOf());
    assert.equal(banks[0]?.values.buffer.byteLength, 24 * size);
  });

  it('do not stand in for others that came', () => {
    const { answer, prove } = opened();
    const { banks } = answer(valuesOf());
    const again = madeQuote(key, Buffer.alloc(0), { pcrs: { sha256: valuesOf() } });
    for (const sha256 of [valuesOf(3, anything), valuesOf().subarray(size), Buffer.alloc(0)])
      assert.equal(rejectionOf(() => prove({ ...again, pcrs: { sha256 } }))?.code, 'pcr_digest_mismatch');
    assert.equal(rejectionOf(() => prove({ ...again, pcrs: {} }))?.code, 'pcr_digest_mismatch');
    const moved = madeQuote(key, Buffer.alloc(0), { pcrs: { sha256: valuesOf(3, anything) } });
    assert.equal(
      rejectionOf(() => prove({ ...moved, pcrs: { sha256: valuesOf() } }))?.code,
      'pcr_digest_mismatch',
    );
    assert.notEqual(prove(moved).banks, banks);
    assert.deepEqual(prove(moved).banks[0]?.values, valuesOf(3, anything));
  });

  it('are those of one key, until it is forgotten', () => {
    const { answer, verifier } = opened();
    const { banks } = answer(valuesOf());
    assert.notEqual(answer(valuesOf(), {}, other).banks, banks);
    assert.equal(answer(valuesOf()).banks, banks);
    verifier.forget(akOf(other).name);
    assert.equal(answer(valuesOf()).banks, banks);
    verifier.forget(akOf(key).name);
    assert.notEqual(answer(valuesOf()).banks, banks);
  });
});

describe('the cap of a boot', () => {
  const capped = (before: string) =>
    hash('sha256', Buffer.concat([Buffer.from(before, 'hex'), capDigest('sha256')]), 'hex');
  const zeros = '00'.repeat(size);
  const measured = held.sha256?.[15] ?? '';

  it('is read once, and anew where PCR 15 or a log is another', () => {
    const { answer } = opened();
    const states: [value: string, parts: Parts, state: string, before: string | null][] = [
      [measured, { boot, userSpace }, 'open', null],
      [capped(measured), { boot, userSpace }, 'capped', measured],
      [measured, { boot }, 'unexplained', null],
      [capped(measured), {}, 'unexplained', null],
      [zeros, { boot }, 'open', null],
      [zeros, {}, 'open', null],
      [capped(zeros), {}, 'capped', zeros],
    ];
    for (const [value, parts, state, before] of states) {
      const { cap } = answer(valuesOf(15, value), parts);
      const read = cap.get('sha256');
      assert.deepEqual([read?.state, read?.before?.toString('hex') ?? null], [state, before]);
      assert.equal(answer(valuesOf(15, value), parts).cap, cap);
    }
  });
});

describe('the digest of what is measured', () => {
  const digestOf = (values: Buffer, change: Parameters<typeof madeQuote>[2] = {}): string => {
    const quote = madeQuote(key, Buffer.alloc(0), { pcrs: { sha256: values }, ...change });
    return opened().prove(quote).measuredDigest;
  };

  it('stays where PCR 10 moves, or one from 16 on', () => {
    const { answer } = opened();
    const { measuredDigest } = answer(valuesOf());
    for (const pcr of [10, 16, 23]) {
      assert.equal(answer(valuesOf(pcr, anything)).measuredDigest, measuredDigest);
      assert.equal(digestOf(valuesOf(pcr, anything)), measuredDigest);
    }
  });

  it('is another one for any other value, also where the one before is remembered', () => {
    const { answer } = opened();
    const seen = new Set([answer(valuesOf()).measuredDigest]);
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15]) {
      const { measuredDigest } = answer(valuesOf(pcr, anything));
      assert.equal(measuredDigest, digestOf(valuesOf(pcr, anything)));
      seen.add(measuredDigest);
    }
    assert.equal(seen.size, 16);
  });

  it('is another one for the same bytes of other PCRs or of another bank', () => {
    const one = valuesOf().subarray(0, size);
    const selecting = (selection: readonly (readonly [number, string])[], bank = 'sha256') =>
      digestOf(one, { selection, pcrs: { [bank]: one } });
    const digests = [
      selecting([[0x000b, '010000']]),
      selecting([[0x000b, '020000']]),
      selecting([[0x000b, '000800']]),
      digestOf(valuesOf(), { selection: [[0x000c, 'ffff00']], pcrs: { sha384: valuesOf() } }),
      digestOf(valuesOf()),
    ];
    assert.equal(new Set(digests).size, digests.length);
  });
});

describe('the boot logs that a verifier remembers', () => {
  it('are not parsed again while PCRs are the same, or only IMA moved, on whatever node', () => {
    const { answer, verifier } = opened();
    assert.deepEqual(verifier.missing({ boot: named }), ['boot']);
    const first = answer(valuesOf(), { boot }).boot;
    assert.deepEqual(first?.problems, []);
    assert.deepEqual(verifier.missing({ boot: named }), []);
    assert.equal(answer(valuesOf(), { boot: named }).boot, first);
    for (const pcr of [10, 16, 23])
      assert.equal(answer(valuesOf(pcr, anything), { boot: named }).boot, first);
    assert.equal(answer(valuesOf(), { boot: named }, other).boot, first);
  });

  it('are not parsed again where the firmware left one of several banks alone, either', () => {
    const { prove, verifier } = opened();
    const quote = () =>
      madeQuote(key, Buffer.alloc(0), {
        selection: [
          [0x000b, 'ffffff'],
          [0x000c, 'ffffff'],
        ],
        pcrs: { sha256: valuesOf(), sha384: Buffer.alloc(24 * bankBytes.sha384) },
      });
    const first = prove(quote(), { boot }).boot;
    assert.deepEqual(
      first?.problems.map(({ code }) => code),
      ['bank_unextended'],
    );
    assert.deepEqual(verifier.missing({ boot: named }), []);
    assert.equal(prove(quote(), { boot: named }).boot, first);
  });

  it('are none of a machine of which no bank was extended: its log may be made up anew each time', () => {
    const { answer, verifier } = opened();
    const { problems = [] } = answer(Buffer.alloc(24 * size), { boot }).boot ?? {};
    assert.deepEqual(
      problems.map(({ code }) => code),
      ['bank_unextended'],
    );
    assert.deepEqual(verifier.missing({ boot: named }), ['boot']);
  });

  it('are replayed again where a measured PCR moved', () => {
    const { answer } = opened();
    const first = answer(valuesOf(), { boot }).boot;
    for (const pcr of [0, 7, 11, 15])
      assert.notEqual(answer(valuesOf(pcr, anything), { boot: named }).boot, first);
    const moved = answer(valuesOf(4, anything), { boot: named }).boot;
    assert.equal(moved?.problems[0]?.code, 'log_replay_mismatch');
    assert.deepEqual(answer(valuesOf(), { boot: named }).boot?.problems, []);
  });

  it('are replayed again with what user space measured meanwhile', () => {
    const { answer, verifier } = opened();
    const named = { boot: { digest: boot.digest, bytes: null } };
    assert.deepEqual(answer(valuesOf(), { boot }).boot?.userSpace, []);
    const later = answer(valuesOf(), { ...named, userSpace }).boot;
    assert.equal(later?.userSpace?.length, 3);
    assert.equal(answer(valuesOf(), { ...named, userSpace }).boot, later);
    const only = { digest: userSpace.digest, bytes: null };
    assert.deepEqual(verifier.missing({ ...named, userSpace: only }), []);
    assert.equal(answer(valuesOf(), { ...named, userSpace: only }).boot, later);
    assert.deepEqual(answer(valuesOf(), named).boot?.userSpace, []);
  });

  it('stay what they were where the sender’s bytes change afterwards', () => {
    const { answer } = opened();
    const bytes = Buffer.from(log);
    answer(valuesOf(), { boot: { digest: boot.digest, bytes } });
    bytes.fill(0);
    const remembered = answer(valuesOf(), { boot: named }).boot;
    const fresh = opened().answer(valuesOf(), { boot }).boot;
    assert.deepEqual(remembered?.state.components, fresh?.state.components);
    assert.deepEqual(remembered?.log.events, fresh?.log.events);
  });

  it('do not stand in for other bytes under their digest', () => {
    const { answer } = opened();
    answer(valuesOf(), { boot });
    const bytes = tamper(log, 'kernel');
    const refusal = rejectionOf(() => answer(valuesOf(), { boot: { digest: boot.digest, bytes } }));
    assert.deepEqual([refusal?.code, refusal?.field], ['malformed', 'parts.boot']);
  });

  it('refuse a log of user space that cannot be read, and one that nobody has', () => {
    const { answer } = opened();
    const codeOf = (parts: Parts) => rejectionOf(() => answer(valuesOf(), parts))?.code;
    assert.equal(codeOf({ boot, userSpace: partOf(Buffer.from('{}')) }), 'malformed');
    assert.equal(codeOf({ boot: named }), 'malformed');
    assert.deepEqual(answer(valuesOf(), { boot }).boot?.problems, []);
  });

  it('are up to a number of bytes: the oldest go', () => {
    const { answer, verifier } = opened();
    const padded = (more: number) => {
      const part = partOf(Buffer.concat([log, Buffer.alloc(1024 * 1024 + more)]));
      return answer(valuesOf(), { boot: part }).boot;
    };
    const first = answer(valuesOf(), { boot }).boot;
    for (let sent = 0; sent < 16; sent += 1) padded(sent);
    assert.equal(answer(valuesOf(), { boot }).boot, first);
    for (let sent = 16; sent < 80; sent += 1) padded(sent);
    assert.deepEqual(verifier.missing({ boot: named }), ['boot']);
    assert.notEqual(answer(valuesOf(), { boot }).boot, first);
  });

  it('are compared with each quote, and not read again for that (row 363)', () => {
    const { answer } = opened();
    const first = answer(valuesOf(), { boot }).boot;
    const moved = answer(valuesOf(12, anything), { boot: named }, other).boot;
    assert.equal(moved?.log, first?.log);
    assert.equal(moved?.state, answer(valuesOf(12, `ff${anything.slice(2)}`), { boot: named }).boot?.state);
    const tampered = answer(valuesOf(4, anything), { boot: named }, other).boot;
    assert.equal(tampered?.log, first?.log);
    assert.equal(tampered?.problems[0]?.code, 'log_replay_mismatch');
    assert.notEqual(tampered?.state, first?.state);
  });

  it('are none that do not replay', () => {
    const { answer, verifier } = opened();
    const changed = partOf(tamper(log, 'kernel'));
    const first = answer(valuesOf(), { boot: changed }).boot;
    assert.notEqual(answer(valuesOf(), { boot: changed }).boot, first);
    assert.deepEqual(verifier.missing({ boot: { digest: changed.digest, bytes: null } }), ['boot']);
  });
});

describe("IMA's list, as a verifier remembers it", () => {
  const entries = ['boot_aggregate', '/usr/bin/sh', '/usr/bin/env', '/usr/bin/node'].map((name) =>
    file(name),
  );
  const bytes = binaryOf(entries);
  const bytesOf = (count: number) => binaryOf(entries.slice(0, count)).length;
  const pcr10 = (count: number) => extendedTo(entries.slice(0, count)).values;

  /** Answers of one node, each with some bytes of its list and the PCRs after so many entries. */
  function listed() {
    const verifier = new Verifier();
    const answer = (
      count: number,
      ima: ImaTail | null,
      {
        signer = key,
        resetCount = 7,
        parts = {},
      }: { signer?: typeof key; resetCount?: number; parts?: Parts } = {},
    ): Proven => {
      const quote = madeQuote(signer, Buffer.alloc(0), {
        pcrs: { sha256: valuesOf(10, pcr10(count).toString('hex')) },
        resetCount,
      });
      return verifier.verify({ quotes: [quote], facts: null, parts, ima }, expectedOf(signer));
    };
    return { verifier, answer };
  }
  const from = (at: number, end = bytes.length): ImaTail => ({ from: at, chunks: [bytes.subarray(at, end)] });
  const added = ({ ima }: Proven): string[] => {
    const names: string[] = [];
    if (isProvenList(ima)) ima.walk(({ name }) => names.push(name));
    return names;
  };
  const codeOf = ({ ima }: Proven) => (ima === null || isProvenList(ima) ? null : ima.code);
  const ak = akOf(key).name;

  it('goes on from where it was proven, and says where that is', () => {
    const { verifier, answer } = listed();
    assert.equal(verifier.imaProven(ak), null);
    const first = answer(2, from(0));
    assert.deepEqual(added(first), ['boot_aggregate', '/usr/bin/sh']);
    assert.deepEqual(
      { bytes: verifier.imaProven(ak)?.bytes, entries: verifier.imaProven(ak)?.entries },
      { bytes: bytesOf(2), entries: 2 },
    );
    assert.deepEqual(added(answer(4, from(bytesOf(2)))), ['/usr/bin/env', '/usr/bin/node']);
    assert.equal(verifier.imaProven(ak)?.head, `sha256:${pcr10(4).toString('hex')}`);
    const idle = answer(4, { from: bytes.length, chunks: [] });
    assert.ok(isProvenList(idle.ima));
    assert.equal(idle.ima.entries, 4);
    assert.deepEqual(added(idle), []);
  });

  it('is the same in steps', () => {
    const { verifier } = listed();
    const quote = madeQuote(key, Buffer.alloc(0), {
      pcrs: { sha256: valuesOf(10, pcr10(4).toString('hex')) },
    });
    const signed = verifier.checkSigned({ quotes: [quote], facts: null, bootLog: null }, expectedOf());
    assert.deepEqual(added(atOnce(signed.provenInSteps({ parts: {}, ima: from(0) }))), [
      'boot_aggregate',
      '/usr/bin/sh',
      '/usr/bin/env',
      '/usr/bin/node',
    ]);
  });

  it('gives the aspect boot its first entry, whichever part of the list an answer brings', () => {
    const { answer } = listed();
    const whole = answer(2, from(0)).aggregate;
    assert.match(whole ?? '', /^sha256:/);
    assert.equal(answer(3, from(bytesOf(2))).aggregate, whole);
    assert.equal(answer(3, null).aggregate, null);
  });

  it('is forgotten where it does not lead to PCR 10, so that it is asked for from its begin', () => {
    const { verifier, answer } = listed();
    answer(2, from(0));
    assert.equal(codeOf(answer(4, from(bytesOf(2), bytesOf(3)))), 'ima_incomplete');
    assert.equal(verifier.imaProven(ak), null);
    assert.equal(codeOf(answer(4, from(bytesOf(2)))), 'ima_incomplete');
    assert.deepEqual(added(answer(4, from(0))).length, 4);
  });

  it('begins anew with the next boot', () => {
    const { verifier, answer } = listed();
    answer(3, from(0));
    assert.equal(codeOf(answer(4, from(bytesOf(3)), { resetCount: 8 })), 'ima_incomplete');
    assert.equal(added(answer(2, from(0), { resetCount: 8 })).length, 2);
    assert.equal(verifier.imaProven(ak)?.entries, 2);
  });

  it('is that of one key, until it is forgotten', () => {
    const { verifier, answer } = listed();
    answer(2, from(0));
    answer(3, from(0), { signer: other });
    assert.equal(verifier.imaProven(ak)?.entries, 2);
    assert.equal(codeOf(answer(4, from(bytesOf(2)), { signer: other })), 'ima_incomplete');
    verifier.forget(ak);
    assert.equal(verifier.imaProven(ak), null);
  });

  it('comes as a part from an older agent', () => {
    const { answer } = listed();
    assert.equal(added(answer(4, null, { parts: { ima: partOf(bytes) } })).length, 4);
    assert.equal(codeOf(answer(4, null, { parts: { ima: partOf(bytes.subarray(1)) } })), 'ima_malformed');
  });
});
