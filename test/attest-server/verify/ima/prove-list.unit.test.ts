import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { KnownList } from '../../../../attest-server/verify/ima/prove-list.ts';
import { isProvenList, type ProvenImaList } from '../../../../attest-server/verify/ima/proven-list.ts';
import { type PcrBank, pcrBanks } from '../../../../attest-server/wire/messages.ts';
import {
  asciiOf,
  binaryOf,
  digestField,
  extendedTo,
  file,
  type Kernel,
  listIn,
  type MadeEntry,
  madeEntry,
  measuredData,
  proved,
  saidBy,
  sha256,
  text,
  u32,
} from './made-list.ts';

const none = Buffer.alloc(0);
const first = file('boot_aggregate');
const violation = file('/tmp/open', { isViolation: true });
const entries = [first, file('/usr/bin/sh'), violation, file('/usr/bin/node'), file('/usr/bin/env')];

function problemOf({ list, known }: ReturnType<typeof proved>) {
  assert.ok(list !== null && !isProvenList(list));
  const { code, entry, offset, field } = list;
  return { code, entry, offset, field, forgets: known === null };
}

const namesIn = (list: ProvenImaList) => {
  const names: string[] = [];
  list.walk(({ name }) => names.push(name));
  return names;
};

/** Proven up to the third of `entries`. */
function begun(): KnownList {
  const { known } = proved(binaryOf(entries), [extendedTo(entries.slice(0, 3))]);
  assert.ok(known !== null);
  return known;
}

const since = (from: number, list: readonly MadeEntry[] = entries) => ({
  from,
  chunks: [binaryOf(list).subarray(from)],
});

describe('a list that leads to the quoted PCR 10', () => {
  it('is proven as far as the quote goes, and what came later is left', () => {
    for (let count = 1; count <= entries.length; count++) {
      const list = listIn(proved(binaryOf(entries), [extendedTo(entries.slice(0, count))]));
      assert.equal(list.entries, count);
      assert.equal(list.bytes, binaryOf(entries.slice(0, count)).length);
      assert.equal(namesIn(list).length, count);
    }
  });

  it('is proven although what came later cannot be read', () => {
    const bytes = Buffer.concat([binaryOf(entries), Buffer.from('no entry')]);
    assert.equal(listIn(proved(bytes, [extendedTo(entries)])).entries, entries.length);
  });

  for (const kernel of ['hashed', 'padded', 'unmapped'] as const)
    it(`is proven in all banks at once where a kernel extends them ${kernel}, and each in its own way`, () => {
      const other: Kernel = kernel === 'hashed' ? 'unmapped' : kernel;
      const banks = pcrBanks.map((bank) => extendedTo(entries, bank, bank === 'sha384' ? other : kernel));
      const { list, known } = proved(binaryOf(entries), banks);
      assert.ok(isProvenList(list));
      const ways = Object.fromEntries(known?.last.running.map(({ bank, way }) => [bank, way]) ?? []);
      assert.deepEqual(ways, { sha1: 'hashed', sha256: kernel, sha384: other, sha512: kernel });
    });

  it('goes on in the way of the kernel, also where only a later violation shows which it is', () => {
    for (const kernel of ['hashed', 'padded', 'unmapped'] as const) {
      const { known } = proved(binaryOf(entries), [extendedTo(entries.slice(0, 2), 'sha256', kernel)]);
      const next = proved(since(known?.last.bytes ?? 0), [extendedTo(entries, 'sha256', kernel)], known);
      assert.equal(listIn(next).entries, entries.length, kernel);
    }
  });

  it('gives what each answer adds, under the head of the one before', () => {
    const before = begun();
    const next = proved(since(before.last.bytes), [extendedTo(entries)], before);
    const list = listIn(next);
    assert.equal(list.since, before.last.head);
    assert.equal(list.firstAdded, 3);
    assert.deepEqual(namesIn(list), ['/usr/bin/node', '/usr/bin/env']);
    assert.equal(next.known?.before, before.last);
  });

  it('is given in steps, which give it whole', () => {
    const list = listIn(proved(binaryOf(entries), [extendedTo(entries)]));
    const names: string[] = [];
    let steps = 0;
    for (const _ of list.walkInSteps(({ name }) => names.push(name), 2)) steps++;
    assert.equal(steps, 2);
    assert.deepEqual(names, namesIn(list));
  });

  it('is proven again by the same answer, and by one that adds nothing', () => {
    const before = begun();
    const banks = [extendedTo(entries)];
    const once = proved(since(before.last.bytes), banks, before);
    const twice = proved(since(before.last.bytes), banks, once.known);
    assert.deepEqual(namesIn(listIn(twice)), namesIn(listIn(once)));
    assert.equal(listIn(twice).head, listIn(once).head);
    const nothing = { from: once.known?.last.bytes ?? 0, chunks: [] };
    for (const tail of [nothing, null]) {
      const list = listIn(proved(tail, banks, once.known));
      assert.deepEqual(
        [list.entries, list.firstAdded, list.since],
        [entries.length, entries.length, list.head],
      );
      assert.deepEqual(namesIn(list), []);
    }
  });

  it('may be shown from its begin at any time', () => {
    const list = listIn(proved(binaryOf(entries), [extendedTo(entries)], begun()));
    assert.equal(list.since, null);
    assert.equal(list.firstAdded, 0);
  });

  it('counts each kernel that kexec started', () => {
    const again = [...entries, first, file('/usr/bin/later')];
    assert.deepEqual(listIn(proved(binaryOf(again), [extendedTo(again)])).aggregates, [0, entries.length]);
  });

  it('leaves out what went into another PCR, and says how many that are', () => {
    const mixed = [...entries, file('/elsewhere', { pcr: 11 }), file('/usr/bin/last')];
    const list = listIn(proved(binaryOf(mixed), [extendedTo(mixed)]));
    assert.equal(list.elsewhere, 1);
    assert.equal(list.entries, mixed.length);
    assert.ok(!namesIn(list).includes('/elsewhere'));
  });

  it('is read from the file of any bank, and goes on in it', () => {
    for (const bank of pcrBanks) {
      const files = ['/a', '/b', '/c'].map((name) => file(name, { bank }));
      const { known } = proved(binaryOf(files), [extendedTo(files.slice(0, 2))]);
      const next = proved(since(known?.last.bytes ?? 0, files), [extendedTo(files)], known);
      assert.deepEqual(namesIn(listIn(next)), ['/c'], bank);
    }
  });
});

describe('a list that does not lead there', () => {
  const quoted = [extendedTo(entries)];
  const before = begun();
  const { bytes } = before.last;
  const other = [first, file('/usr/bin/other'), ...entries.slice(2)];
  const cases: readonly (readonly [string, ReturnType<typeof proved>, ReturnType<typeof problemOf>])[] = [
    [
      'was cut',
      proved(binaryOf(entries.slice(0, 4)), quoted),
      incomplete(4, binaryOf(entries.slice(0, 4)).length),
    ],
    ['is empty', proved(none, quoted), incomplete(0, 0)],
    ['is of another node', proved(binaryOf(other), quoted), incomplete(5, binaryOf(other).length)],
    [
      'branches where it goes on',
      proved(since(bytes, [...entries.slice(0, 3), file('/x')]), quoted, before),
      incomplete(4, binaryOf([...entries.slice(0, 3), file('/x')]).length),
    ],
    [
      'shrank',
      proved({ from: bytes, chunks: [] }, [extendedTo(entries.slice(0, 2))], before),
      incomplete(3, bytes),
    ],
    [
      'goes on where it was not proven',
      proved(since(bytes + 1), quoted, before),
      incomplete(null, bytes + 1),
    ],
    ['goes on, and nothing is remembered', proved(since(bytes), quoted), incomplete(null, bytes)],
    [
      'is cut within an entry',
      proved(binaryOf(entries).subarray(0, -1), quoted),
      malformed(4, binaryOf(entries).length - 1, 'ima.data'),
    ],
    [
      'leads to one bank alone',
      proved(binaryOf(entries), [...quoted, extendedTo(other, 'sha384')]),
      incomplete(5, binaryOf(entries).length),
    ],
    ['is without PCR 10', proved(binaryOf(entries), []), incomplete(null, null)],
    ['is beside a zero PCR 10', proved(binaryOf(entries), [extendedTo([])]), incomplete(null, null)],
    [
      'goes on in a bank that was not quoted before',
      proved(since(bytes), [...quoted, extendedTo(entries, 'sha384')], before),
      incomplete(null, null),
    ],
  ];

  for (const [what, proof, problem] of cases)
    it(`is refused with its place where it ${what}, and forgotten`, () => {
      assert.deepEqual(problemOf(proof), problem);
    });

  it('says nothing of its begin where it goes on somewhere', () => {
    for (const tail of [since(bytes + 1), since(bytes, other)])
      assert.equal(proved(tail, quoted, before).aggregate, null);
    assert.equal(proved(binaryOf(other), quoted, before).aggregate, 'not_replayed');
  });

  it('is still remembered where nothing came of it, although PCR 10 moved on', () => {
    const proof = proved(null, quoted, before);
    assert.equal(problemOf(proof).code, 'ima_incomplete');
    assert.equal(proof.known, before);
    assert.deepEqual(proved(null, quoted), { list: null, aggregate: null, known: null });
  });

  function incomplete(entry: number | null, offset: number | null) {
    return { code: 'ima_incomplete' as const, entry, offset, field: null, forgets: true };
  }

  function malformed(entry: number, offset: number, field: string) {
    return { code: 'ima_malformed' as const, entry, offset, field, forgets: true };
  }
});

describe('an entry that no kernel writes', () => {
  const digest = digestField(sha256('/x'));
  const made = (template: string, ...fields: readonly Buffer[]) => madeEntry({ template, fields });
  const longName = Buffer.alloc(256, 'x');
  const cases: readonly (readonly [string, MadeEntry, string])[] = [
    ['is for a PCR that is none', file('/x', { pcr: 24 }), 'ima.pcr'],
    ['is of an unknown template', made('ima-new', digest, text('/x')), 'ima.template'],
    ['has a template without a name', made('d-ng|sig', digest, none), 'ima.template'],
    ['has a template without a digest', made('n-ng', text('/x')), 'ima.template'],
    ['has a field twice', made('d-ng|n-ng|n-ng', digest, text('/x'), text('/y')), 'ima.template'],
    ['has a field too few', made('ima-sig', digest, text('/x')), 'ima.sig.size'],
    ['has bytes after its fields', made('ima-ng', digest, text('/x'), none), 'ima.data'],
    ['has a digest without the name of a hash', made('ima-ng', sha256('/x'), text('/x')), 'ima.d-ng'],
    ['has a digest of nothing', made('ima-ng', digestField(none), text('/x')), 'ima.d-ng'],
    ['calls a digest with its hash one without', made('d|n-ng', digest, text('/x')), 'ima.d'],
    [
      'calls another field the digest',
      made('d-modsig|n-ng|sig|d-ng|modsig', digest, text('/x'), none, digest, Buffer.of(0x30)),
      'ima.template',
    ],
    [
      'calls a field of files data',
      made('d-ng|n-ng|buf|sig', ...measuredData('dm_table_load', 'dm_version=1;').fields, none),
      'ima.template',
    ],
    ['has a digest longer than any', made('ima-ng', digestField(Buffer.alloc(65)), text('/x')), 'ima.d-ng'],
    [
      'says of what its digest is in a template that does not',
      made('ima-ng', digestField(sha256('/x'), 'ima:sha256'), text('/x')),
      'ima.d-ng',
    ],
    ['does not say it in one that does', made('ima-ngv2', digest, text('/x')), 'ima.d-ngv2'],
    ['has a name without its NUL', made('ima-ng', digest, Buffer.from('/x')), 'ima.n-ng'],
    ['has a name with a NUL within', made('ima-ng', digest, text('/usr/bin/sh\0/x')), 'ima.n-ng'],
    ['has a signature that is none', made('ima-sig', digest, text('/x'), Buffer.of(1, 2)), 'ima.sig'],
    [
      'has an appended signature that is none',
      made('ima-modsig', digest, text('/x'), none, digest, Buffer.of(3)),
      'ima.modsig',
    ],
    [
      'has data of another digest',
      made('ima-buf', digest, text('dm_table_load'), Buffer.from('data')),
      'ima.buf',
    ],
    [
      'has data under a hash that is not known',
      made('ima-buf', digestField(sha256('data'), 'sm9'), text('x'), Buffer.from('data')),
      'ima.buf',
    ],
    [
      'calls data a signature',
      made('ima-sig', ...measuredData('dm_table_load', 'dm_version=1;').fields),
      'ima.sig',
    ],
    [
      'says of a device what it does not show',
      made('d-ng|n-ng|xattrvalues', ...measuredData('dm_table_load', 'dm_version=1;').fields),
      'ima.template',
    ],
    ['calls a file data', made('ima-buf', digest, text('/x'), none), 'ima.buf'],
    [
      'has attributes that do not fit',
      made(
        'evm-sig',
        digest,
        text('/x'),
        Buffer.of(5),
        text('a|b'),
        u32(1),
        Buffer.of(1),
        u32(0),
        u32(0),
        Buffer.of(0, 0),
      ),
      'ima.xattrlengths',
    ],
    [
      'has a number of a wrong size',
      made('evm-sig', digest, text('/x'), Buffer.of(5), none, none, none, none, u32(0), u32(0)),
      'ima.imode',
    ],
    [
      'has a name that is too long for its template',
      made('ima', sha256('/x').subarray(0, 20), longName),
      'ima.n',
    ],
  ];

  for (const [what, bad, field] of cases)
    it(`is named with its field where it ${what}, and nothing beyond it is believed`, () => {
      const list = [...entries, bad, file('/usr/bin/later')];
      const proof = proved(binaryOf(list), [extendedTo(list)]);
      const problem = problemOf(proof);
      assert.equal(problem.code, 'ima_malformed');
      assert.equal(problem.entry, entries.length);
      assert.equal(problem.field, field);
      const begin = binaryOf(entries).length;
      assert.ok(
        problem.offset !== null && problem.offset >= begin && problem.offset <= begin + bad.binary.length,
      );
      assert.ok(problem.forgets);
    });

  it('changes nothing for the aspect boot where the kernel extended it', () => {
    const bank: PcrBank = 'sha256';
    const aggregate = madeEntry({
      template: 'ima-ng',
      fields: [digestField(sha256('pcrs')), text('boot_aggregate')],
    });
    const list = [aggregate, made('vendor-template', digest, text('/x')), file('/usr/bin/later')];
    const proof = proved(binaryOf(list), [extendedTo(list, bank)]);
    assert.equal(problemOf(proof).field, 'ima.template');
    assert.equal(proof.aggregate, `sha256:${sha256('pcrs').toString('hex')}`);
  });
});

describe('the ascii form', () => {
  const quoted = [extendedTo(entries)];

  it('says what the binary form says, also where a name holds spaces, or the last line has no end', () => {
    const spaced = [
      ...entries,
      madeEntry({ template: 'ima-sig', fields: [digestField(sha256('x')), text('/a b c'), Buffer.of(3, 2)] }),
    ];
    const said = (bytes: Buffer) => {
      const all: ReturnType<typeof saidBy>[] = [];
      listIn(proved(bytes, [extendedTo(spaced)])).walk((entry) => all.push(saidBy(entry)));
      return all;
    };
    assert.deepEqual(said(asciiOf(spaced)), said(binaryOf(spaced)));
    assert.deepEqual(said(asciiOf(spaced).subarray(0, -1)), said(binaryOf(spaced)));
  });

  it('is read where spaces at its lines’ ends are lost', () => {
    const unsigned = [
      first,
      madeEntry({ template: 'ima-sig', fields: [digestField(sha256('x')), text('/x'), none] }),
    ];
    const bytes = Buffer.from(asciiOf(unsigned).toString().replaceAll(' \n', '\n'));
    assert.notEqual(bytes.length, asciiOf(unsigned).length);
    assert.equal(listIn(proved(bytes, [extendedTo(unsigned)])).entries, 2);
  });

  const line = file('/usr/bin/later').ascii;
  const cases: readonly (readonly [string, string, string])[] = [
    ['has no number', line.replace('10 ', 'x '), 'ima.pcr'],
    ['has a digit that is none in its digest', line.replace(/^10 ../, '10 zz'), 'ima.digest'],
    ['has a digest of another length', line.replace(/^10 ../, '10 '), 'ima.digest'],
    ['has an unknown template', line.replace('ima-ng', 'ima-new'), 'ima.template'],
    ['has a digit that is none', line.replace('sha256:', 'sha256:z'), 'ima.d-ng'],
    ['is cut', '10 ab', 'ima.digest'],
    ['is empty', '\n', 'ima.pcr'],
    ['is no line of a list', 'a NUL \0\n', 'ima.pcr'],
  ];
  for (const [what, bad, field] of cases)
    it(`names a line that ${what} by number and field`, () => {
      const begin = asciiOf(entries);
      const bytes = Buffer.concat([begin, Buffer.from(bad), asciiOf([file('/x')])]);
      const problem = problemOf(proved(bytes, [extendedTo([...entries, file('/x')])]));
      assert.deepEqual(
        [problem.code, problem.entry, problem.field],
        ['ima_malformed', entries.length, field],
      );
      assert.ok(problem.offset !== null && problem.offset >= begin.length);
      // What stands before it is believed.
      assert.equal(listIn(proved(bytes, quoted)).entries, entries.length);
    });
});

describe('a list in chunks', () => {
  const many = Array.from({ length: 600 }, (_, i) => file(`/usr/lib/${'x'.repeat(i % 90)}${i}`));
  const large = measuredData('kexec-cmdline', Buffer.alloc(100_000, 'x'));
  const list = [...many, large, ...many.slice(0, 300)];
  const bytes = binaryOf(list);
  const whole = namesIn(listIn(proved(bytes, [extendedTo(list)])));

  for (const size of [16 * 1024, 16 * 1024 + 1, 20_011, 65_537])
    it(`of ${size} bytes is read as it is in one, each time`, () => {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      assert.ok(chunks.length > 2);
      const proven = listIn(proved({ from: 0, chunks }, [extendedTo(list), extendedTo(list, 'sha384')]));
      assert.equal(proven.bytes, bytes.length);
      assert.deepEqual(namesIn(proven), whole);
      assert.deepEqual(namesIn(proven), whole);
    });

  it('is refused where its last chunk ends within an entry', () => {
    const chunks = [bytes.subarray(0, 30_000), bytes.subarray(30_000, -1)];
    const problem = problemOf(proved({ from: 0, chunks }, [extendedTo(list)]));
    assert.deepEqual(
      [problem.code, problem.entry, problem.offset],
      ['ima_malformed', list.length - 1, bytes.length - 1],
    );
  });

  it('is read from the text in chunks, whose lines end anywhere', () => {
    const text = asciiOf(list);
    const chunks: Buffer[] = [];
    for (let at = 0; at < text.length; at += 9001) chunks.push(text.subarray(at, at + 9001));
    assert.deepEqual(namesIn(listIn(proved({ from: 0, chunks }, [extendedTo(list)]))), whole);
  });
});
