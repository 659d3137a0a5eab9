import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import type { KnownList } from '../../../../attest-server/verify/ima/prove-list.ts';
import type { MeasuredMapping } from '../../../../attest-server/verify/ima/proven-list.ts';
import {
  binaryOf,
  extendedTo,
  file,
  listIn,
  type MadeEntry,
  madeEntry,
  measuredData,
  proved,
} from './made-list.ts';

const version = 'dm_version=4.45.0;';
const device = (name: string, uuid = '', minor = 0, targets = 1) =>
  `name=${name},uuid=${uuid},major=253,minor=${minor},minor_count=1,num_targets=${targets};`;
const crypt =
  'target_index=0,target_begin=0,target_len=172040,target_name=crypt,target_version=1.23.0,cipher_string=aes-xts-plain64,key_size=64;';
const linear = (index = 0) =>
  `target_index=${index},target_begin=${index * 8},target_len=8,target_name=linear,target_version=1.4.0,device_name=254:2,start=0;`;
const load = (about: string, ...targets: readonly string[]) =>
  measuredData('dm_table_load', `${version}${about}${targets.join('')}`);
const hashOf = (...loads: readonly MadeEntry[]) =>
  `sha256:${hash('sha256', Buffer.concat(loads.map(({ fields }) => fields[2] ?? Buffer.alloc(0))))}`;
const resume = (about: string, table: string) =>
  measuredData(
    'dm_device_resume',
    `${version}${about}active_table_hash=${table};current_device_capacity=172040;`,
  );
const remove = (about: string) =>
  measuredData(
    'dm_device_remove',
    `${version}device_active_metadata=${about}active_table_hash=sha256:00,remove_all=n;current_device_capacity=8;`,
  );
const rename = (about: string, name: string, uuid = '') =>
  measuredData(
    'dm_device_rename',
    `${version}${about}new_name=${name},new_uuid=${uuid};current_device_capacity=8;`,
  );

interface Shown {
  readonly device: string;
  readonly entry: number;
  readonly state: MeasuredMapping['state'];
  readonly targets: readonly (readonly unknown[])[];
}

/** The mappings after these entries, where each answer brings as many of them. */
function mappingsAfter(entries: readonly MadeEntry[], each = entries.length): readonly Shown[] {
  let known: KnownList | null = null;
  let mappings: readonly Shown[] = [];
  for (let count = each; count - each < entries.length; count += each) {
    const from: number = known?.last.bytes ?? 0;
    const upTo = entries.slice(0, count);
    const proof = proved({ from, chunks: [binaryOf(upTo).subarray(from)] }, [extendedTo(upTo)], known);
    mappings = listIn(proof).mappings.map(({ name, uuid, major, minor, entry, state, targets }) => ({
      device: `${name} ${uuid} ${major}:${minor}`,
      entry,
      state,
      targets: targets.map(({ type, begin, length, parameters }) => [
        type,
        begin,
        length,
        Object.fromEntries(parameters),
      ]),
    }));
    known = proof.known;
  }
  return mappings;
}

const cryptTarget = [
  'crypt',
  0n,
  172040n,
  { target_version: '1.23.0', cipher_string: 'aes-xts-plain64', key_size: '64' },
];
const linearTarget = (index = 0) => [
  'linear',
  BigInt(index * 8),
  8n,
  { target_version: '1.4.0', device_name: '254:2', start: '0' },
];

const luks = device('luks', 'CRYPT-LUKS2-1');
const loaded = load(luks, crypt);
const other = load(luks, linear());
const first = load(device('many', 'm', 1, 3), linear(0), linear(1));
const second = load(device('many', 'm', 1, 3), linear(2));
const escaped = load('name=a\\,b\\;c\\=d\\\\,uuid=,major=253,minor=0,minor_count=1,num_targets=1;', crypt);

describe('mappings of the device mapper', () => {
  const cases: readonly (readonly [string, readonly MadeEntry[], readonly Shown[]])[] = [
    [
      'a table that was only loaded',
      [loaded],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 0, state: 'loaded', targets: [cryptTarget] }],
    ],
    [
      'a device that was resumed with it',
      [loaded, resume(luks, hashOf(loaded))],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 1, state: 'active', targets: [cryptTarget] }],
    ],
    [
      'one that was resumed with a table that no entry shows',
      [loaded, resume(luks, 'sha256:00')],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 1, state: 'active', targets: [] }],
    ],
    [
      'the table in force while another one is loaded',
      [loaded, resume(luks, hashOf(loaded)), other],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 2, state: 'active', targets: [cryptTarget] }],
    ],
    [
      'the other one once it is in force',
      [loaded, resume(luks, hashOf(loaded)), other, resume(luks, hashOf(other))],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 3, state: 'active', targets: [linearTarget()] }],
    ],
    [
      'an earlier table that is in force again, whose load is measured once',
      [loaded, other, resume(luks, hashOf(loaded))],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 2, state: 'active', targets: [cryptTarget] }],
    ],
    [
      'a new name',
      [loaded, resume(luks, hashOf(loaded)), rename(luks, 'data', 'u')],
      [{ device: 'data u 253:0', entry: 2, state: 'active', targets: [cryptTarget] }],
    ],
    [
      'that a device is gone',
      [loaded, resume(luks, hashOf(loaded)), remove(luks)],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 2, state: 'removed', targets: [cryptTarget] }],
    ],
    [
      'the next device with the same numbers',
      [loaded, resume(luks, hashOf(loaded)), remove(luks), load(device('next'), linear())],
      [{ device: 'next  253:0', entry: 3, state: 'loaded', targets: [linearTarget()] }],
    ],
    [
      'a table in more than one record',
      [first, second, resume(device('many', 'm', 1, 3), hashOf(first, second))],
      [
        {
          device: 'many m 253:1',
          entry: 2,
          state: 'active',
          targets: [linearTarget(0), linearTarget(1), linearTarget(2)],
        },
      ],
    ],
    [
      'a name with separators',
      [escaped],
      [{ device: 'a,b;c=d\\  253:0', entry: 0, state: 'loaded', targets: [cryptTarget] }],
    ],
    [
      'no device of a record that is none',
      [
        measuredData('dm_table_load', `name=x,uuid=,major=253,minor=0;${crypt}`),
        measuredData('selinux-state', 'initialized=1;'),
        file('/x'),
      ],
      [],
    ],
    [
      'a device without numbers by its name',
      [
        loaded,
        measuredData(
          'dm_device_remove',
          `${version}name=luks,uuid=CRYPT-LUKS2-1;device_remove=no_data;remove_all=n;`,
        ),
      ],
      [{ device: 'luks CRYPT-LUKS2-1 253:0', entry: 1, state: 'removed', targets: [] }],
    ],
  ];
  for (const [what, entries, wanted] of cases)
    it(`tell ${what}, in one answer or in several`, () => {
      assert.deepEqual(mappingsAfter(entries), wanted);
      assert.deepEqual(mappingsAfter(entries, 1), wanted);
    });

  it('are not what stands in a violation, which nothing binds', () => {
    const violations = [loaded, resume(luks, hashOf(loaded))].map((entry) =>
      madeEntry({ ...entry, isViolation: true }),
    );
    assert.deepEqual(mappingsAfter(violations), []);
    assert.deepEqual(mappingsAfter([...violations, loaded]), mappingsAfter([file('/x'), file('/y'), loaded]));
  });

  it('are those of recorded entries', () => {
    const path = '../../../../swtpm-fixtures/recorded/ima-lists/keylime-entries.txt';
    const lines = readFileSync(join(import.meta.dirname, path), 'latin1').split('\n');
    const entries = lines.flatMap((line) => {
      const [, , template, , name = '', data = ''] = line.split(' ');
      return template === 'ima-buf' && name.startsWith('dm_')
        ? [measuredData(name, Buffer.from(data, 'hex'))]
        : [];
    });
    assert.equal(entries.length, 15);
    const said = mappingsAfter(entries).map(({ device: named, state, targets }) => [
      named,
      state,
      targets.map(([type]) => type),
    ]);
    assert.deepEqual(said, [
      ['test-integrity CRYPT-INTEGRITY-test-integrity 253:1', 'loaded', ['integrity']],
      ['test CRYPT-LUKS2-8a5644833ba74c14ae42fa130fa88aca-test 253:2', 'loaded', ['crypt']],
      ['cache cache 253:4', 'loaded', ['cache']],
      ['mirror test-mirror 253:5', 'loaded', ['mirror']],
      ['test2 test_uuid 253:0', 'active', ['linear']],
    ]);
  });

  it('are bounded: of a table with too many targets none is told, and the oldest devices are forgotten', () => {
    const many = Array.from({ length: 65 }, (_, i) => load(device('many', '', 9, 65), linear(i)));
    assert.deepEqual(mappingsAfter([...many, resume(device('many', '', 9, 65), hashOf(...many))]), [
      { device: 'many  253:9', entry: 65, state: 'active', targets: [] },
    ]);
    const devices = Array.from({ length: 5000 }, (_, i) =>
      load(device(`d${i}`, 'x'.repeat(100), i), linear()),
    );
    const { known } = proved(binaryOf(devices), [extendedTo(devices)]);
    const kept = known?.last.mappings.list() ?? [];
    assert.ok((known?.last.mappings.size ?? 0) <= 256 * 1024);
    assert.ok(kept.length > 100 && kept.length <= 4096);
    assert.equal(kept.at(-1)?.name, 'd4999');
  });
});
