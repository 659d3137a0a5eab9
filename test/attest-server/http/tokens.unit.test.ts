import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { readTokens } from '../../../attest-server/http/tokens.ts';

describe('the tokens of the first minutes', () => {
  let dir: string;
  const file = (name: string) => join(dir, name);
  const text = (name: string) => readFileSync(file(name), 'utf8').trim();
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-tokens-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('are made once, for their owner alone, and hold over a restart (row 74)', () => {
    readTokens(dir);
    const admin = text('admin.token');
    assert.equal(Buffer.from(admin, 'base64url').length, 32);
    assert.equal(statSync(file('admin.token')).mode & 0o777, 0o600);
    assert.notEqual(admin, text('reader.token'));
    assert.deepEqual(readTokens(dir).authenticate(`Bearer ${admin}`), {
      name: 'token:admin',
      role: 'admin',
      expiresAt: null,
    });
    assert.equal(readTokens(dir).authenticate(`bearer ${text('reader.token')}`)?.role, 'reader');
  });

  it('are not anything else', () => {
    const tokens = readTokens(dir);
    const admin = text('admin.token');
    for (const header of [
      undefined,
      '',
      admin,
      `Basic ${admin}`,
      `Bearer ${admin}x`,
      `Bearer ${admin.slice(1)}`,
      'Bearer ',
    ])
      assert.equal(tokens.authenticate(header), null);
  });

  it('are refused where others can read them, where they are short, or where they are a link (row 74)', () => {
    readTokens(dir);
    chmodSync(file('admin.token'), 0o644);
    assert.throws(() => readTokens(dir), /chmod go=/);
    writeFileSync(file('admin.token'), 'short\n');
    chmodSync(file('admin.token'), 0o600);
    assert.throws(() => readTokens(dir), /contains no token/);
    rmSync(file('admin.token'));
    symlinkSync(file('reader.token'), file('admin.token'));
    assert.throws(() => readTokens(dir), { code: 'ELOOP' });
  });
});
