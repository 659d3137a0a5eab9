import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, emptyWorld, startApi } from '../http/api-fixture.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

describe('assay authority', () => {
  let server: ApiServer;
  before(async () => {
    server = await startApi(emptyWorld());
  });
  after(() => server.close());
  const assay = (line: string, token = 'admin-token') =>
    runAssay(line.split(' '), { env: environmentOf(server, token), cwd: server.dir });

  for (const [line, token, code] of [
    ['authority status', 'reader-token', 0],
    ['authority rotate', 'admin-token', 0],
    ['authority finish', 'admin-token', 2],
    ['authority finish --yes', 'admin-token', 1],
    ['authority finish --force --yes', 'admin-token', 0],
    ['authority finish --dry-run', 'admin-token', 10],
    ['authority retire', 'admin-token', 1],
    ['authority rotate', 'operator-token', 1],
    ['authority finish --force --yes', 'operator-token', 1],
    ['authority status -o name', 'reader-token', 2],
    ['authority rotate now', 'admin-token', 2],
    ['authority', 'admin-token', 2],
    ['authority --help', 'reader-token', 0],
    ['authority export /nonexistent/ca.pem', 'reader-token', 1],
  ] as const)
    it(`exits with ${code} for ${line} of the ${token}`, async () => {
      assert.equal((await assay(line, token)).code, code);
    });

  it('says which nodes are waited for, to people and to programs', async () => {
    const { out } = await assay('authority status');
    assert.match(out, /^AUTHORITY +STATE +UNTIL\n(ab){6} +in force +2036-11-20/);
    assert.match(out, /1 of 2 nodes[^\n]*\n +not yet: node-2\n/);
    const view = JSON.parse((await assay('authority status -o json')).out);
    assert.deepEqual([view.stage, view.untold, view.waitingFor], ['announced', 1, ['node-2']]);
  });

  it('writes the authorities as they are given to agents and callers', async () => {
    assert.equal((await assay('authority export -')).out, 'PEM\n');
    assert.equal((await assay('authority export ca.pem')).code, 0);
    assert.equal(readFileSync(join(server.dir, 'ca.pem'), 'utf8'), 'PEM\n');
  });
});
