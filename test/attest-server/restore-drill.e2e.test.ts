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
import { run, start } from 'node-tpm2/run';
import { programs } from '../programs.ts';

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
  const servers: ReturnType<typeof start>[] = [];
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
  after(() => {
    for (const server of servers) server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  async function startServer(state: string): Promise<{ readonly api: string; stop(): Promise<void> }> {
    const child = start(process.execPath, [programs['assay-server']], {
      env: {
        ASSAY_STATE_DIR: state,
        ASSAY_HOST: '127.0.0.1',
        ...Object.fromEntries(['AGENT', 'API', 'METRICS'].map((name) => [`ASSAY_${name}_PORT`, '0'])),
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    servers.push(child);
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const api = await new Promise<string>((resolve, reject) => {
      let said = '';
      child.stderr?.on('data', (text: Buffer) => {
        said += String(text);
        const found = /"api":(\d+).*the server listens/.exec(said);
        if (found !== null) resolve(`https://127.0.0.1:${found[1]}`);
      });
      child.once('exit', () => reject(new Error(said)));
    });
    return {
      api,
      async stop() {
        child.kill('SIGTERM');
        await ended;
      },
    };
  }

  async function type(script: string, state: string, server: string): Promise<string> {
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', `cd ${folder}\n${script}`], {
      timeoutMs: 50_000,
      maxOutputBytes: 65_536,
      env: {
        PATH: [join(folder, 'bin'), dirname(process.execPath), process.env.PATH ?? ''].join(delimiter),
        STATE: state,
        HOME: folder,
        ASSAY_SERVER: server,
        ASSAY_TOKEN_FILE: join(folder, 'first/admin.token'),
        ASSAY_CA_FILE: join(folder, 'first/tls/ca.crt'),
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
    const before = await startServer(first);
    const pin = `node-1,${'ab'.repeat(32)}`;
    await type(
      `echo ${pin} > keys.csv && assay ek import keys.csv && assay token create --name alice --role reader > alice`,
      first,
      before.api,
    );
    assert.match(await type(copy, first, before.api), /good|verified|entries/i);
    assert.deepEqual(readdirSync(join(first, 'backups')), [], 'the volume is not filled by copies');
    await before.stop();

    await type(restore, second, before.api);
    for (const file of ['assay.db', 'audit.key', 'admin.token', 'tls/ca.key'])
      assert.equal(statSync(join(second, file)).mode & 0o777, 0o600, file);
    assert.equal(statSync(second).mode & 0o777, 0o700);

    // Token, authority and names of the first one: nobody who knew it notices.
    const after = await startServer(second);
    assert.match(await type('assay status', second, after.api), /^Ready: +yes$/m);
    assert.match(await type('assay token list', second, after.api), /alice/);
    const log = await type('assay audit export -', second, after.api);
    for (const action of ['ek.import', 'token.create', 'backup'])
      assert.ok(log.includes(`"${action}"`), action);
    await type('assay audit verify', second, after.api);
    await after.stop();
  });
});
