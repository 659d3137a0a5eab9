import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { endOf } from '../../swtpm-fixtures/end-of.ts';

const program = programs['assay-agent'];
const bootId = '6f0f1b7e-1d7c-4d2b-9d0b-0c7c1d1c2a3b';

/** A machine without a TPM, whose kernel calls its boot so. */
describe('the program assay-agent gate', () => {
  let dir = '';
  let world: TestServer;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-gate-program-'));
    await mkdir(join(dir, 'root/proc/sys/kernel/random'), { recursive: true });
    await writeFile(join(dir, 'root/proc/sys/kernel/random/boot_id'), `${bootId}\n`);
    world = await startTestServer();
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  async function ends(change: Readonly<Record<string, string | number>>, ...flags: readonly string[]) {
    const settings = {
      servers: [`127.0.0.1:${world.server.agentPort}`],
      node: 'node-1',
      caFile: world.server.caFile,
      tcti: 'device:/dev/tpmrm99',
      stateDir: join(dir, 'state'),
      openFile: join(dir, 'open'),
      sysroot: join(dir, 'root'),
      ...change,
    };
    await writeFile(join(dir, 'gate.yaml'), JSON.stringify(settings));
    return endOf([program, 'gate', '--config', join(dir, 'gate.yaml'), ...flags], {
      PATH: process.env.PATH ?? '',
    });
  }

  it('holds a machine without a TPM, and says on the console for how long and why', async () => {
    const { code, stdout } = await ends({}, '--timeout', '3');
    assert.equal(code, 12);
    assert.match(stdout, /unsupported_tpm: this machine has no TPM that can be used/);
    assert.match(stdout, /It waits \d s more, and then holds kubelet for good\./);
    assert.match(stdout, /node-1 is held/);
    assert.doesNotMatch(stdout, /^\{/m, 'the log is elsewhere');
  });

  it('lets an operator in with nothing else at hand, and remembers to tell it', async () => {
    await writeFile(join(dir, 'open'), 'the board was exchanged\n', { mode: 0o600 });
    const { code, stdout, stderr } = await ends({});
    assert.equal(code, 20);
    assert.match(stdout, /an operator says: the board was exchanged/);
    assert.match(stderr, /"code":"gate","do":"open","why":"operator"/);
    await rm(join(dir, 'open'));
    const kept: unknown = JSON.parse(await readFile(join(dir, 'state/gate.json'), 'utf8'));
    assert.partialDeepStrictEqual(kept, {
      untold: { why: 'operator', bootId, reason: 'the board was exchanged' },
    });
  });

  it('never waits where the group of a machine that nobody knows is only observed', async () => {
    await using observed = await startTestServer({ policy: 'observe' });
    const { code, stdout } = await ends({
      servers: `127.0.0.1:${observed.server.agentPort}`,
      caFile: observed.server.caFile,
    });
    assert.equal(code, 0);
    assert.match(stdout, /its group is in mode observe/);
  });
});
