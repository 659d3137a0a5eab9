import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import type { WrapContext, WrappingKeys } from '../../../attest-server/keys/ports.ts';
import { isRootsForOurGroup } from '../../../attest-server/state/private-file.ts';

const context: WrapContext = {
  purpose: 'volume',
  node: 'node-1',
  ekDigest: 'ab'.repeat(32),
  volume: '11111111-2222-4333-8444-555555555555',
};

describe('the wrapping keys of disk keys', () => {
  let folder: string;
  let file: string;
  const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-wrapping-'));
    for (const name of ['keys', 'state']) mkdirSync(join(folder, name));
    file = join(folder, 'keys', 'wrapping');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (...lines: readonly string[]) => {
    rmSync(file, { force: true });
    writeFileSync(file, lines.join('\n'), { mode: 0o400 });
  };
  const open = (...lines: readonly string[]): WrappingKeys => {
    write(...lines);
    const keys = openWrappingKeys({ file, beside: [join(folder, 'state')] });
    assert(keys !== null);
    return keys;
  };

  it('unwrap what they wrapped, and never write the same twice', () => {
    const keys = open(first);
    const secret = randomBytes(32);
    const [one, other] = [keys.wrap(secret, context), keys.wrap(secret, context)];
    assert.notDeepEqual(one.bytes, other.bytes);
    assert.equal(one.bytes.indexOf(secret), -1);
    assert.deepEqual(keys.unwrap(one, context), secret);
  });

  it('unwrap nothing for another node, TPM, volume or purpose, and nothing that was changed', () => {
    const keys = open(first);
    const wrapped = keys.wrap(randomBytes(32), context);
    const others: readonly Partial<WrapContext>[] = [
      { node: 'node-2' },
      { ekDigest: 'cd'.repeat(32) },
      { volume: context.volume.replaceAll('1', '9') },
      { purpose: 'recovery' },
    ];
    for (const other of others)
      assert.throws(
        () => keys.unwrap(wrapped, { ...context, ...other }),
        /was changed, or is another node's/,
      );
    for (let at = 0; at < wrapped.bytes.length; at++) {
      const bytes = Buffer.from(wrapped.bytes);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      assert.throws(() => keys.unwrap({ ...wrapped, bytes }, context), /was changed/);
    }
  });

  it('follow one another: the newest wraps, those before it unwrap', () => {
    const before = open('# of 2026', first, '').wrap(Buffer.from('secret'), context);
    const keys = open(second, first);
    assert.notEqual(keys.current, before.keyId);
    assert.equal(keys.wrap(Buffer.from('secret'), context).keyId, keys.current);
    assert.deepEqual(keys.unwrap(before, context), Buffer.from('secret'));
    assert.throws(
      () => open(second).unwrap(before, context),
      new RegExp(`wrapped by ${before.keyId}.*put that wrapping key back`),
    );
  });

  it('are read again while they are used, but not where the file has a fault or lacks one that is needed', () => {
    const keys = open(first);
    const before = keys.wrap(Buffer.from('secret'), context);
    write(second);
    assert.throws(
      () => keys.reread([before.keyId]),
      new RegExp(`lacks ${before.keyId}, .*put that wrapping key back`),
    );
    write('spoilt');
    assert.throws(() => keys.reread([before.keyId]), /line 1/);
    assert.deepEqual([keys.ids, keys.unwrap(before, context)], [[before.keyId], Buffer.from('secret')]);
    write(second, first);
    keys.reread([before.keyId]);
    assert.deepEqual(keys.ids, [keys.current, before.keyId]);
    assert.equal(keys.wrap(Buffer.from('secret'), context).keyId, keys.current);
    assert.notEqual(keys.current, before.keyId);
    assert.deepEqual(keys.unwrap(before, context), Buffer.from('secret'));
  });

  it('are refused beside the database, also by a link', () => {
    const beside = [join(folder, 'state')];
    mkdirSync(join(folder, 'state', 'below'));
    // As Kubernetes names what a mounted Secret holds.
    mkdirSync(join(folder, 'state', '..2026_12_03'));
    symlinkSync(join(folder, 'state', 'below'), join(folder, 'elsewhere'));
    for (const place of [
      join('state', 'wrapping'),
      join('state', 'below', 'wrapping'),
      join('state', '..2026_12_03', 'wrapping'),
      join('elsewhere', 'wrapping'),
    ]) {
      const path = join(folder, place);
      writeFileSync(path, first, { mode: 0o400 });
      assert.throws(() => openWrappingKeys({ file: path, beside }), /beside what it protects/);
      rmSync(path);
    }
  });

  it('are refused where others can read them, where they are no keys, and where there are none', () => {
    assert.throws(() => open('not base64 of 32 bytes'), /line 1: not 32 bytes of base64/);
    assert.throws(() => open(first.slice(0, -4)), /line 1/);
    assert.throws(() => open('# nothing'), /holds no wrapping key/);
    open(first);
    chmodSync(file, 0o440);
    assert.throws(() => openWrappingKeys({ file, beside: [] }), /open to others/);
    rmSync(file);
    assert.throws(() => openWrappingKeys({ file, beside: [] }), /there is no wrapping key .*openssl rand/);
    assert.equal(openWrappingKeys(null), null);
  });

  it('may lie behind a link, as in a mounted Secret, but not behind one to the database', () => {
    open(first);
    const link = join(folder, 'link');
    symlinkSync(file, link);
    assert.equal(
      openWrappingKeys({ file: link, beside: [join(folder, 'state')] })?.current,
      open(first).current,
    );
    assert.throws(
      () => openWrappingKeys({ file: link, beside: [join(folder, 'keys')] }),
      /beside what it protects/,
    );
  });

  it('may be of root, for a group that reads them, and of no other user', () => {
    const cases: readonly [number, number, boolean][] = [
      [0, 0o100440, true],
      [0, 0o100400, true],
      [0, 0o100444, false],
      [0, 0o100460, false],
      [0, 0o100450, false],
      [0, 0o100640, true],
      [1001, 0o100440, false],
    ];
    for (const [uid, mode, isTaken] of cases)
      assert.equal(isRootsForOurGroup({ uid, mode }, 65532), isTaken, `${uid} ${mode.toString(8)}`);
    assert.equal(isRootsForOurGroup({ uid: 0, mode: 0o100440 }, 0), false);
  });

  it('say nothing of a key in their errors', () => {
    const keys = open(second);
    const wrapped = open(first).wrap(randomBytes(32), context);
    for (const fail of [() => keys.unwrap(wrapped, context), () => open(`${first}x`)])
      assert.throws(fail, (error: Error) => !error.message.includes(first.slice(0, 12)));
  });
});
