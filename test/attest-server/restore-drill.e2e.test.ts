import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { type RunningServer, startServer } from '../../attest-server/server.ts';
import { programs } from '../programs.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { localConfig } from './server-here.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/backup.md'), 'utf8');

/**
 * What docs/backup.md has people type, as it stands there. `kubectl exec` is a script here that starts the same program
 * on the state folder of a server beside this process; all else of the commands is what runs in a cluster.
 */
describe('the drill of docs/backup.md', function () {
  this.timeout(60_000);
  const [section = ''] = /^## A drill in a cluster$[\s\S]*?(?=^## )/m.exec(page) ?? [];
  const scripts = [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
  const [copy = '', , restore = ''] = scripts;
  let folder = '';
  const servers: RunningServer[] = [];
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-drill-'));
    mkdirSync(join(folder, 'bin'));
    const kubectl = `#!/bin/bash
while [[ $1 != -- ]]; do shift; done
shift
args=("\${@//\\/var\\/lib\\/assay\\/state/$STATE}")
exec "\${args[@]}"
`;
    writeFileSync(join(folder, 'bin/kubectl'), kubectl);
    writeFileSync(join(folder, 'bin/assay'), `#!/bin/bash\nexec node ${programs.assay} "$@"\n`);
    for (const name of ['kubectl', 'assay']) chmodSync(join(folder, 'bin', name), 0o755);
  });
  after(async () => {
    for (const server of servers) await server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A server on this state folder, beside what people type. */
  async function serve(stateDir: string): Promise<{ readonly api: string } & RunningServer> {
    const server = await startServer(localConfig(stateDir), { logger: pino({ level: 'silent' }) });
    servers.push(server);
    return { ...server, api: `https://127.0.0.1:${server.apiPort}` };
  }

  const envOf = (server: string) => ({
    ASSAY_SERVER: server,
    ASSAY_TOKEN_FILE: join(folder, 'first/admin.token'),
    ASSAY_CA_FILE: join(folder, 'first/tls/ca.crt'),
  });

  /** What people look at before and after, which is not of the page. */
  async function assay(server: string, ...words: readonly string[]): Promise<string> {
    const { code, out, err } = await runAssay(words, { env: envOf(server), cwd: folder, now: Date.now });
    assert.equal(code, 0, out + err);
    return out;
  }

  async function type(script: string, state: string, server: string): Promise<string> {
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', `cd ${folder}\n${script}`], {
      timeoutMs: 50_000,
      maxOutputBytes: 65_536,
      env: {
        PATH: [join(folder, 'bin'), dirname(process.execPath), process.env.PATH ?? ''].join(delimiter),
        STATE: state,
        HOME: folder,
        ...envOf(server),
      },
    });
    return stdout.toString();
  }

  it('is a copy and a restore', () => {
    assert.equal(scripts.length, 4);
    assert.match(copy, /assay backup/);
    assert.match(restore, /assay-restore/);
  });

  it('makes a copy of a server that runs, from which another one starts as that one', async () => {
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    const before = await serve(first);
    writeFileSync(join(folder, 'keys.csv'), `node-1,${'ab'.repeat(32)}\n`);
    await assay(before.api, 'ek', 'import', 'keys.csv');
    await assay(before.api, 'token', 'create', '--name', 'alice', '--role', 'reader');
    assert.match(await type(copy, first, before.api), /good|verified|entries/i);
    assert.deepEqual(readdirSync(join(first, 'backups')), [], 'the volume is not filled by copies');
    await before.close();

    await type(restore, second, before.api);
    for (const file of ['assay.db', 'audit.key', 'admin.token', 'tls/ca.key'])
      assert.equal(statSync(join(second, file)).mode & 0o777, 0o600, file);
    assert.equal(statSync(second).mode & 0o777, 0o700);

    // Token, authority and names of the first one: nobody who knew it notices.
    const after = await serve(second);
    assert.match(await assay(after.api, 'status'), /^Ready: +yes$/m);
    assert.match(await assay(after.api, 'token', 'list'), /alice/);
    const log = await assay(after.api, 'audit', 'export', '-');
    for (const action of ['ek.import', 'token.create', 'backup'])
      assert.ok(log.includes(`"${action}"`), action);
    await assay(after.api, 'audit', 'verify');
    await after.close();
  });
});
