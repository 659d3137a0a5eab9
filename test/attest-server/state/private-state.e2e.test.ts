import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { serverConfig } from '../../../attest-server/config.ts';
import { startServer } from '../../../attest-server/server.ts';
import { startFault } from '../../../attest-server/start-fault.ts';
import { programs } from '../../programs.ts';

const program = programs['assay-server'];

/** Somebody else on the machine came first, or left a way in: the server says so and does not start. */
describe('the state folder of a server', () => {
  let parent: string;
  let folder: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'assay-private-'));
    folder = join(parent, 'state');
  });
  afterEach(() => rmSync(parent, { recursive: true }));

  const inFolder = (name: string) => join(folder, name);
  const settings = (stateDir = folder) => ({
    stateDir,
    host: '127.0.0.1',
    agentPort: 0,
    apiPort: 0,
    metricsPort: 0,
  });
  const startedIn = async (stateDir: string) => {
    const server = await startServer(serverConfig(null, {}, settings(stateDir)), {
      logger: pino({ level: 'silent' }),
    });
    await server.close();
  };

  it('and all that the server writes there is closed to others (row 74)', async () => {
    await startedIn(folder);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true });
    assert(files.length > 5);
    assert.equal(statSync(folder).mode & 0o077, 0);
    for (const file of files) {
      const path = join(file.parentPath, file.name);
      // Certificates are public; the folder around them is not.
      if (!file.name.endsWith('.crt')) assert.equal(statSync(path).mode & 0o077, 0, path);
    }
  });

  describe('is not used', () => {
    let made: string;
    before(async () => {
      made = mkdtempSync(join(tmpdir(), 'assay-made-'));
      await startedIn(join(made, 'state'));
    });
    after(() => rmSync(made, { recursive: true }));

    let config: string;
    beforeEach(() => {
      config = join(parent, 'config.yaml');
      // Else the line of the configuration comes before what is wrong.
      writeFileSync(config, JSON.stringify({ ...settings(), logLevel: 'error' }), { mode: 0o600 });
    });

    const attacks: readonly (readonly [string, string, () => void])[] = [
      ['that others may read', '', () => chmodSync(folder, 0o755)],
      ['that others may write', '', () => chmodSync(folder, 0o720)],
      [
        'that is a link to another place',
        '',
        () => {
          renameSync(folder, join(parent, 'elsewhere'));
          symlinkSync(join(parent, 'elsewhere'), folder);
        },
      ],
      ['whose audit key others may read', 'audit.key', () => chmodSync(inFolder('audit.key'), 0o644)],
      ['whose audit key is a link', 'audit.key', () => replaceByLink(inFolder('audit.key'))],
      ['whose database others may write', 'assay.db', () => chmodSync(inFolder('assay.db'), 0o622)],
      ['whose database is a link', 'assay.db', () => replaceByLink(inFolder('assay.db'))],
      ['whose token is a link', 'admin.token', () => replaceByLink(inFolder('admin.token'))],
      ['whose keys of the authority others may read', 'tls', () => chmodSync(inFolder('tls'), 0o755)],
      ['whose folder of keys is a link', 'tls', () => replaceByLink(inFolder('tls'))],
      ...['ca.key', 'server.key'].flatMap((name): (readonly [string, string, () => void])[] => {
        const key = join('tls', name);
        return [
          [`whose ${name} others may read`, key, () => chmodSync(inFolder(key), 0o640)],
          [`whose ${name} others may write`, key, () => chmodSync(inFolder(key), 0o602)],
          [`whose ${name} is a link`, key, () => replaceByLink(inFolder(key))],
        ];
      }),
    ];
    const byProgram = () =>
      run(process.execPath, [program, '--config', config], { timeoutMs: 30_000, maxOutputBytes: 4096 });
    for (const [index, [what, name, attack]] of attacks.entries())
      it(`${what} (row 74)`, async () => {
        cpSync(join(made, 'state'), folder, { recursive: true });
        attack();
        const before = contentOf(parent);
        await assert.rejects(startedIn(folder), (error) => {
          // What the program says, and how it ends.
          const { text, exitCode } = startFault(error);
          return exitCode === 1 && text.includes(inFolder(name));
        });
        assert.deepEqual(contentOf(parent), before);
        if (index > 0) return;
        await assert.rejects(
          byProgram(),
          (error) =>
            error instanceof ToolError && error.exitCode === 1 && error.message.includes(inFolder(name)),
        );
        assert.deepEqual(contentOf(parent), before);
      });

    it('that somebody else made first (row 74)', async () => {
      mkdirSync(folder, { mode: 0o777 });
      chmodSync(folder, 0o777);
      await assert.rejects(startedIn(folder), (error: Error) => error.message.includes(folder));
      assert.deepEqual(readdirSync(folder), []);
    });
  });
});

function replaceByLink(path: string): void {
  renameSync(path, `${path}.moved`);
  symlinkSync(`${path}.moved`, path);
}

/** Names of all that is there but SQLite's own, and what the small files hold. */
function contentOf(path: string): readonly unknown[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter(({ name }) => !/-(wal|shm)$/.test(name))
    .map((file) => {
      const full = join(file.parentPath, file.name);
      return [full, file.isFile() && /\.(key|token)$/.test(file.name) ? readFileSync(full, 'utf8') : ''];
    });
}
