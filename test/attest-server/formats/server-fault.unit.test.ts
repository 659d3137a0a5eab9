import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import {
  faultAdvice,
  faultCauses,
  faultText,
  StorageFault,
  storageCauseOf,
} from '../../../attest-server/formats/server-fault.ts';

function thrownBy(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return assert.fail('nothing was thrown');
}

describe('a fault of the server', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-fault-'));
  });
  after(() => rmSync(dir, { recursive: true }));

  const opened = (name: string) => new DatabaseSync(join(dir, name), { timeout: 0 });
  const causes: readonly (readonly [string, () => unknown, ReturnType<typeof storageCauseOf>])[] = [
    ['a file on a disk without room', () => thrownBy(() => writeFileSync('/dev/full', 'x')), 'disk_full'],
    [
      'a database that may not grow',
      () => {
        using database = opened('full.db');
        database.exec('create table t(a); pragma max_page_count = 2');
        return thrownBy(() => database.exec(`insert into t values('${'x'.repeat(9_000)}')`));
      },
      'disk_full',
    ],
    [
      'a database that is only read',
      () => {
        opened('read.db').close();
        using database = new DatabaseSync(join(dir, 'read.db'), { readOnly: true });
        return thrownBy(() => database.exec('create table t(a)'));
      },
      'read_only',
    ],
    [
      'a file that is no database',
      () => {
        writeFileSync(join(dir, 'none.db'), 'x'.repeat(4096));
        using database = opened('none.db');
        return thrownBy(() => database.exec('select * from sqlite_master'));
      },
      'damaged',
    ],
    ['a folder that is none', () => thrownBy(() => opened('none/none.db')), 'denied'],
    [
      'a database that another one holds',
      () => {
        using first = opened('held.db');
        using second = opened('held.db');
        first.exec('begin exclusive');
        return thrownBy(() => second.exec('create table t(a)'));
      },
      'locked',
    ],
    [
      'a row that a rule of the database refuses',
      () => {
        using database = opened('rule.db');
        database.exec('create table t(a unique); insert into t values(1)');
        return thrownBy(() => database.exec('insert into t values(1)'));
      },
      null,
    ],
    ['a fault of the program', () => new TypeError('x is not a function'), null],
    ['no error', () => 'disk_full', null],
    ['one that tells of another', () => new Error('no', { cause: new StorageFault('io_error') }), 'io_error'],
    ['one that tells of many', () => new AggregateError([new StorageFault('read_only')]), 'read_only'],
  ];
  for (const [what, make, cause] of causes)
    it(`of ${what} has the cause ${cause}`, () => assert.equal(storageCauseOf(make()), cause));

  for (const cause of faultCauses)
    it(`by ${cause} has a text, and an advice whose commands are finished`, () => {
      assert.notEqual(faultText(cause), '');
      const advice = faultAdvice(cause, '/srv/assay');
      assert.doesNotMatch(advice, /DIR|NODE|<|>/);
      if (cause !== 'internal') assert.match(advice, /^ {2}[a-z-]+ /m);
    });
});
