import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { startFault } from '../../attest-server/start-fault.ts';
import { tlsFolder } from '../../attest-server/tls/identity.ts';
import { startTestServer } from '../attest-server/running-server.ts';
import { localConfig } from '../attest-server/server-here.ts';
import { type SmallDisk, smallDisk } from '../attest-server/small-disk.ts';
import { identityIn } from '../attest-server/tls/made-identity.ts';
import { programs } from '../programs.ts';
import { endOf } from '../swtpm-fixtures/end-of.ts';
import { assay, commandsIn, fallNight, follow, investigate, type Night, node, type } from './night.ts';

describe('incidents: it is the server, or what somebody told it', function () {
  this.timeout(120_000);
  let night: Night;
  let folder: string;
  let policyFile: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-night-'));
    policyFile = join(folder, 'policy.yaml');
    await writeFile(policyFile, policy);
    night = await fallNight({ policy: policyFile });
  });
  after(async () => {
    await night?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('says that the server was started again, and that no node is worse for it', async () => {
    await night.world.restart();
    await investigate(night, {
      steps: [['status']],
      cause: [/started/i, '1 trusted'],
      next: [],
    });
  });

  it('says which line of a policy is wrong, and that the one of before is in force', async () => {
    await writeFile(policyFile, policy.replace('secureBoot: required', 'secureBoot: requird'));
    await assert.rejects(night.world.server.reload());
    const shown = await investigate(night, {
      steps: [['status']],
      cause: ['policy.yaml', 'secureBoot', 'required', /stays|in force/],
      next: [`assay policy check ${policyFile}`],
    });
    const check = commandsIn(shown).find((line) => line.startsWith('assay policy check')) ?? '';
    assert.equal((await type(night, check)).code, 1);
    await writeFile(policyFile, policy);
    await night.world.server.reload();
    assert.doesNotMatch((await night.assay('status')).stdout, /policy check/);
    await night.reaches('trusted');
  });

  it('leads back from a policy that is wrong although it can be read', async () => {
    await writeFile(policyFile, policy.replace('boot: {', 'boot: { cmdline: { require: ["audit=1"] },'));
    await night.world.server.reload();
    await night.reaches('untrusted', 'cmdline_policy');
    const shown = await investigate(night, {
      steps: [
        ['get', 'nodes'],
        ['why', node],
      ],
      cause: ['cmdline_policy', 'audit=1', /Nothing changed on the node: policy \S+ came into force/],
      next: ['assay policy rollback '],
    });
    await follow(night, shown, 'assay policy rollback', '--yes');
    await night.reaches('trusted');
    await writeFile(policyFile, policy);
    await night.world.server.reload();
    await night.reaches('trusted');
  });

  it('leads back from a reference that was revoked by mistake', async () => {
    const revoked = await night.assay(
      'reference',
      'revoke',
      'good-boot',
      '--reason',
      'a wrong line',
      '--yes',
    );
    assert.equal(revoked.code, 0, revoked.stderr);
    await night.reaches('untrusted', 'revoked_reference');
    const shown = await investigate(night, {
      steps: [
        ['get', 'nodes'],
        ['why', node],
      ],
      cause: ['revoked_reference', 'good-boot', 'a wrong line', 'token:admin'],
      next: ['assay reference restore good-boot --reason'],
    });
    await follow(night, shown, 'assay reference restore', '--yes');
    await night.reaches('trusted');
  });

  it('says that the database is older than what was signed, and who must say why', async () => {
    const { world } = night;
    await night.assay('token', 'create', '--name', 'later', '--role', 'reader');
    assert.equal((await night.assay('audit', 'verify')).code, 0);
    await world.restart(async () => {
      const database = new DatabaseSync(join(world.stateDir, 'assay.db'));
      const triggers = database.prepare("select name from sqlite_master where type = 'trigger'").all();
      for (const { name } of triggers) database.exec(`drop trigger ${name}`);
      database.exec('delete from audit where seq > 4; delete from checkpoints where size > 4');
      database.close();
    });
    const shown = await investigate(night, {
      steps: [['status']],
      cause: ['audit_rollback'],
      next: ['assay audit resolve --reason'],
    });
    await follow(night, shown, 'assay audit resolve');
    assert.equal((await night.assay('status')).code, 0);
    await night.reaches('trusted');
  });
});

describe('incidents: the disk of the server is full', function () {
  this.timeout(120_000);
  let disk: SmallDisk;
  let night: Night;
  beforeEach(async function () {
    disk = (await smallDisk(4)) ?? this.skip();
    night = await fallNight({ within: disk.path });
  });
  afterEach(async () => {
    await night?.[Symbol.asyncDispose]();
    await disk?.[Symbol.asyncDispose]();
  });

  it('says so of the server and not of a node, with what helps, and heals', async () => {
    disk.fill();
    await night.world.until(
      async () => (await night.assay('join-token', 'create', '--node', 'node-9')).code !== 0 || isFull(night),
      60_000,
    );
    await night.reaches('unknown', 'server_fault');
    const shown = await investigate(night, {
      steps: [
        ['get', 'nodes'],
        ['why', node],
      ],
      cause: ['server_fault', /disk .* is full/, night.world.stateDir],
      next: ['df -h ', 'du -ah '],
    });
    await follow(night, shown, 'df -h ');
    await follow(night, shown, 'du -ah ');
    disk.empty();
    await night.reaches('trusted');
  });
});

describe('incidents: the database of the server is damaged', function () {
  this.timeout(120_000);
  let night: Night;
  let bin: string;
  before(async () => {
    night = await fallNight();
    bin = await mkdtemp(join(tmpdir(), 'assay-night-bin-'));
    const script = `#!/bin/sh\nexec "${process.execPath}" "${programs['assay-server']}" "$@"\n`;
    await writeFile(join(bin, 'assay-server'), script, { mode: 0o755 });
  });
  after(async () => {
    await night?.[Symbol.asyncDispose]();
    await rm(bin, { recursive: true, force: true });
  });
  /** As the user of the server types it into a shell. */
  const shell = async (line: string): Promise<string> => {
    const { stdout, stderr } = await endOf([], { PATH: `${bin}:${process.env.PATH}` }, [
      '/bin/sh',
      '-c',
      `${line} #`,
    ]);
    return stdout + stderr;
  };

  it('says where, which copy is whole, and what puts it there, and the nodes are trusted again (row 416)', async () => {
    const { world } = night;
    assert.equal((await night.assay('backup')).code, 0);
    await night.assay('token', 'create', '--name', 'later', '--role', 'reader');
    assert.equal((await night.assay('audit', 'verify')).code, 0);
    const database = join(world.stateDir, 'assay.db');
    const fault = await world
      .restart(async () => overwriteTable(database, 'statuses'))
      .then(() => assert.fail('it starts'))
      .catch((error: unknown) => startFault(error, { ...localConfig(world.stateDir) }).text);
    let next = shows(fault, [database, 'damaged'], /^assay-server check --store --state-dir /);
    const found = await shell(next[0] ?? '');
    next = shows(found, [database, 'is damaged', 'table statuses', 'latest intact copy'], /^cp -p .*backups/);
    assert.equal(next.length, 3, found);
    for (const command of next) assert.equal(await shell(command), '');
    assert.match(
      await shell(`assay-server check --store --state-dir ${world.stateDir}`),
      /not the one that was signed/,
    );
    await world.restart();
    await night.reaches('trusted');
    const shown = await investigate(night, {
      steps: [['status']],
      cause: ['audit_rollback'],
      next: ['assay audit resolve --reason'],
    });
    await follow(night, shown, 'assay audit resolve');
    assert.match(await shell(`assay-server check --store --state-dir ${world.stateDir}`), /is whole/);
  });
});

/** The commands of a text that names all of this. */
function shows(text: string, cause: readonly string[], wanted: RegExp): readonly string[] {
  for (const part of cause) assert.ok(text.includes(part), `no ${part} in:\n${text}`);
  const commands = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^(assay-server|mkdir|mv|cp) /.test(line));
  assert.ok(
    commands.some((line) => wanted.test(line)),
    text,
  );
  return commands;
}

function overwriteTable(path: string, table: string): void {
  const database = new DatabaseSync(path);
  database.exec('pragma wal_checkpoint(truncate)');
  const root = database.prepare('select rootpage from sqlite_schema where name = ?').get(table);
  database.close();
  const file = openSync(path, 'r+');
  writeSync(file, randomBytes(4096), 0, 4096, (Number(root?.rootpage) - 1) * 4096);
  closeSync(file);
}

describe('incidents: the certificate of the server has ended', function () {
  this.timeout(60_000);

  it('says when, on which side, and what to do', async () => {
    await using world = await startTestServer({
      async prepare(stateDir) {
        await identityIn(stateDir, ['localhost', '127.0.0.1'], Date.now() - 400 * 86_400_000);
        const key = join(tlsFolder(stateDir), 'ca.key');
        await rename(key, `${key}.hidden`);
      },
    });
    await investigate(
      { assay: (...words) => assay(world, words) },
      {
        steps: [['get', 'nodes']],
        cause: [/the server's certificate ended at \d{4}-\d\d-\d\dT/, /clock of this machine says \d{4}-/],
        next: ['date -u', 'journalctl -u assay-server'],
      },
    );
  });
});

/** That of the night, and one line that somebody will get wrong. */
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["*"]
    mode: enforce
    require: [identity, boot]
    boot: { secureBoot: required }
`;

async function isFull({ world }: Night): Promise<boolean> {
  return (await world.metric('assay_server_fault{cause="disk_full"}')) === 1;
}
