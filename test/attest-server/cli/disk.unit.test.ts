import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { inspect } from 'node:util';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { recover as recoverFile } from '../../../attest-server/cli/offline/recover/command.ts';
import { armoured, sealForRecovery } from '../../../attest-server/keys/escrow.ts';
import { type ApiServer, emptyWorld, now, startApi } from '../http/api-fixture.ts';
import { type MadeVolumes, madeHeader, openMadeVolumes } from '../keys/made-volumes.ts';
import { madeEvent, madeNode } from '../store/made-records.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

const bounds = { timeoutMs: 30_000, maxOutputBytes: 65_536 };
const init = 'disk init node-1 --volume docker --path /var/lib/docker';

describe('assay disk', () => {
  let made: MadeVolumes;
  let server: ApiServer;
  before(async () => {
    const world = emptyWorld();
    world.nextBoots = new Map([['node-1', { answer: 'would_not', hasLease: true, causes: [] }]]);
    made = await openMadeVolumes(() => now - 60_000);
    world.volumes = made.volumes;
    world.policyGroups = made.groups;
    for (const name of ['node-1', 'node-2', 'other-1']) {
      world.nodes.set(name, { enrolled: madeNode(name), status: null });
      await made.enrol(madeNode(name));
    }
    server = await startApi(world);
  });
  after(async () => {
    await server.close();
    await made[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const { uuid } of await made.volumes.list()) await made.volumes.remove(uuid, 'token:test');
  });

  const assay = (line: string, answer?: string) =>
    runAssay(line.split(' '), {
      env: environmentOf(server, 'admin-token'),
      cwd: server.dir,
      ask: answer === undefined ? null : async () => answer,
    });
  const uuidOf = async (name = 'docker') =>
    (await made.volumes.list()).find((volume) => volume.name === name)?.uuid ?? assert.fail();
  /** As its node formats it. */
  async function format(header: string): Promise<void> {
    const { leases } = made.store;
    const uuid = await uuidOf();
    const headerDigest = 'ab'.repeat(32);
    const escrow = await sealForRecovery(Buffer.from(header), made.groups[0]?.keys?.recoveryRecipients ?? []);
    await leases.keepHeader(madeHeader({ uuid, headerDigest, escrow }));
    await leases.formatted({ uuid, headerDigest, formattedAt: now }, madeEvent('volume.format', 'node-1'));
  }

  describe('init', () => {
    it('prints lines and commands to copy, each on a line of its own', async () => {
      const { code, out, err } = await assay(init);
      assert.deepEqual([code, err], [0, '']);
      const uuid = await uuidOf();
      const [heading, ...lines] = out.trimEnd().split('\n');
      assert.equal(heading, `volume docker of node-1: LUKS UUID ${uuid}`);
      const typed = lines.filter((line) => line.startsWith('  ')).map((line) => line.trim());
      const [command, crypttab, fstab, ...units] = typed;
      assert.equal(units.length, 2);
      assert.ok(crypttab?.startsWith(`docker UUID=${uuid} /run/cryptsetup-keys.d/docker.key luks,`));
      assert.ok(fstab?.startsWith('/dev/mapper/docker /var/lib/docker ext4 '));
      assert.ok(
        command?.startsWith('assay-agent format ') && command.includes(` --volume ${uuid} --device /dev/`),
      );
    });

    it('says the same to programs, with what is next', async () => {
      const { out } = await assay(`${init} -o json`);
      const { uuid, crypttab, fstab, next } = JSON.parse(out);
      assert.equal(uuid, await uuidOf());
      assert.ok(next.includes(`  ${crypttab}\n`) && next.includes(`  ${fstab}\n`));
      assert.match((await assay(`${init.replaceAll('docker', 'kubelet')} -o yaml`)).out, /^crypttab: /m);
    });

    for (const [line, says] of [
      ['disk init node-1 --volume docker.x --path /var/lib/docker', '--volume docker.x: '],
      ['disk init node-1 --volume docker --path docker', '--path docker: '],
      ['disk init node-1 --volume docker', '--path'],
      ['disk init node-1 --path /var/lib/docker', '--volume'],
    ] as const)
      it(`asks no server where something is wrong: ${line}`, async () => {
        const { code, out, err } = await assay(line);
        assert.deepEqual([code, out], [2, '']);
        assert.ok(err.includes(says), err);
        assert.deepEqual(await made.volumes.list(), []);
      });

    for (const [line, says] of [
      ['disk init node-9 --volume docker --path /var/lib/docker', /no such node[\s\S]*assay get nodes/],
      ['disk init other-1 --volume docker --path /var/lib/docker', /key_withheld[\s\S]*assay policy check/],
    ] as const)
      it(`says what to do where the server makes none: ${line}`, async () => {
        const { code, out, err } = await assay(line);
        assert.deepEqual([code, out], [1, '']);
        assert.match(err, says);
      });

    it('refuses a name that is taken, and says where to look', async () => {
      await assay(init);
      const { code, err } = await assay(init);
      assert.equal(code, 1);
      assert.match(err, /assay disk list node-1/);
    });
  });

  describe('list', () => {
    beforeEach(async () => {
      await assay(init);
      await assay('disk init node-2 --volume containerd --path /var/lib/containerd');
    });

    it('shows what is formatted and what is not, and what the next boot would get, on 90 columns', async () => {
      await format('LUKS header');
      const uuid = await uuidOf();
      const { ekDigest } = madeNode('node-1');
      const lease = {
        ekDigest,
        volume: uuid,
        resetCount: 7,
        leaseId: '0'.repeat(32),
        most: 5,
        address: null,
        rotatingSince: null,
      };
      await made.store.leases.deliver({ ...lease, at: now - 300_000 }, () =>
        madeEvent('key.release', 'node-1'),
      );
      await made.store.leases.consume({ ...lease, at: now - 240_000 }, madeEvent('key.unlock', 'node-1'));
      const { code, out } = await assay('disk list');
      assert.equal(code, 0);
      const lines = out.trimEnd().split('\n');
      assert.deepEqual(
        lines.map((line) => line.split(/ {2,}/)),
        [
          ['NODE', 'VOLUME', 'PATH', 'STATE', 'RELEASED', 'UNLOCKED', 'NEXT BOOT'],
          ['node-1', 'docker', '/var/lib/docker', 'formatted', '5m', '4m', 'NO KEY'],
          ['node-2', 'containerd', '/var/lib/containerd', 'to be formatted', '-', '-', '-'],
        ],
      );
      assert.ok(lines.every((line) => line.length <= 90));
      assert.match((await assay('disk list -o wide')).out, new RegExp(`${uuid} +${ekDigest} +abababababab `));
    });

    it('shows the cipher and to whom the escrow is encrypted, whom the policy no longer names, and what is unknown', async () => {
      const { recipients } = (await made.volumes.list())[0] ?? assert.fail();
      const named = recipients.passphrase?.[0]?.slice(0, 12) ?? assert.fail();
      const shown = async () => {
        const [heading, docker, containerd] = (await assay('disk list -o wide')).out.trimEnd().split('\n');
        const at = heading?.indexOf('CIPHER') ?? -1;
        return [docker, containerd].map((line) => line?.slice(at).split(/ {2,}/).slice(0, 2));
      };
      const uuid = await uuidOf();
      assert.deepEqual(await shown(), [
        ['-', named],
        ['-', named],
      ]);
      await format('LUKS header');
      const header = 'age1of-a-per (not in the policy)';
      const [docker] = await shown();
      assert.deepEqual(docker, ['aes-xts-plain64', `${named}; header: ${header}, lacks ${named}`]);
      const { items } = JSON.parse((await assay('disk list node-1 -o json')).out);
      assert.deepEqual(
        [items[0].cipher, items[0].recipients],
        ['aes-xts-plain64', { ...recipients, header: ['age1of-a-person'], policy: recipients.passphrase }],
      );
      using file = new DatabaseSync(made.database);
      file
        .prepare('update volumes set recovery_recipients = null, header_recipients = null where uuid = ?')
        .run(uuid);
      assert.deepEqual((await shown())[0], ['aes-xts-plain64', 'unknown']);
    });

    it('shows whose key is to be replaced, since when, and that the node must boot for it', async () => {
      await format('LUKS header');
      const [said, refused] = [
        await assay('disk rotate node-1 docker', 'y'),
        await assay('disk rotate node-1 docker', 'y'),
      ];
      assert.equal(said.code, 0, said.err);
      assert.match(said.err, /gets a new key at the next boot of node-1[\s\S]*may have that/);
      assert.match(said.out, /is replaced when node-1 boots/);
      assert.equal(refused.code, 1);
      assert.match(refused.err, /assay disk rotate node-1 docker --cancel/);
      assert.match((await assay('disk list node-1')).out, /rotating since 60s, at its next boot/);
      const { ekDigest } = madeNode('node-1');
      const rotatingSince = now - 60_000;
      const boot = { ekDigest, volume: await uuidOf(), resetCount: 7, leaseId: '0'.repeat(32), most: 5 };
      const lease = { ...boot, rotatingSince };
      await made.store.leases.deliver({ ...lease, address: null, at: now - 2000 }, () =>
        madeEvent('key.release', 'node-1'),
      );
      await made.store.leases.consume({ ...lease, at: now - 1000 }, madeEvent('key.unlock', 'node-1'));
      assert.match((await assay('disk list node-1')).out, /rotating since 60s, not done at its last boot/);
      assert.equal((await assay('disk rotate node-1 docker --cancel')).code, 0);
      assert.match((await assay('disk list node-1')).out, / formatted /);
      assert.equal((await assay('disk rotate node-1 docker', 'n')).code, 1);
      assert.equal((await assay('disk rotate node-1 docker')).code, 2, 'nobody to ask');
      assert.equal((await assay('disk rotate node-1 docker --dry-run')).code, 0);
      assert.match((await assay('disk list node-1')).out, / formatted /);
    });

    it('says that a new key waits for a node that is away', async () => {
      await format('LUKS header');
      const { err } = await assay('disk rotate node-1 docker', 'n');
      assert.match(
        err,
        /^node-1 is not connected, and was never verified: the new key waits for it, and .*--cancel/m,
      );
      assert.equal((await assay('disk rotate node-1 docker --dry-run')).code, 0);
    });

    it('shows those of one node, in each form', async () => {
      assert.equal((await assay('disk list node-2')).out.trimEnd().split('\n').length, 2);
      assert.equal((await assay('disk list -o name')).out, 'node-1 docker\nnode-2 containerd\n');
      const { items } = JSON.parse((await assay('disk list node-1 -o json')).out);
      assert.deepEqual([items.length, items[0].name, items[0].formattedAt], [1, 'docker', null]);
      assert.equal((await assay('disk list -o jsonpath={.items[*].path}')).out.trim().split(' ').length, 2);
      assert.equal((await assay('disk list node-9')).code, 1);
    });
  });

  describe('remove', () => {
    it('says that only the passphrase opens the disk then, and how to keep it first', async () => {
      await assay(init);
      await format('LUKS header');
      const { code, err } = await assay('disk remove node-1 docker', 'n');
      assert.deepEqual([code, (await made.volumes.list()).length], [1, 1]);
      assert.match(err, /only the recovery passphrase opens the disk/);
      const [, escrow] = /^ {2}assay (disk escrow .*)$/m.exec(err) ?? [];
      assert.equal((await assay(escrow ?? '')).code, 0);
      const { code: done, out } = await assay(`disk remove node-1 ${await uuidOf()}`, 'y');
      assert.equal(done, 0, out);
      assert.deepEqual(await made.volumes.list(), []);
    });

    it('removes none that is not there, and asks nobody', async () => {
      const { code, err } = await assay('disk remove node-1 docker', 'y');
      assert.equal(code, 1);
      assert.match(err, /assay disk list node-1/);
      assert.equal((await assay('disk remove node-9 docker', 'y')).code, 1);
    });
  });

  describe('revoke', () => {
    const revoke = 'disk revoke node-1 docker --reason stolen';

    it('says what the node loses and asks, shows it, and is taken back', async () => {
      await assay(init);
      const { code, err } = await assay(revoke, 'n');
      assert.equal(code, 1);
      assert.match(err, /from its next boot on node-1 gets no key[\s\S]*recovery passphrase/);
      assert.match((await assay(`${revoke} --dry-run`)).out, /stays open until that boot/);
      assert.equal((await made.volumes.list())[0]?.revoked, null);
      assert.equal((await assay(revoke, 'y')).code, 0);
      assert.match((await assay('disk list')).out, /docker +\/var\/lib\/docker +revoked .*NO KEY/);
      const again = await assay(revoke, 'y');
      assert.equal(again.code, 1);
      assert.match(again.err, /the key of this volume is revoked/);
      const restore = 'disk restore node-1 docker --reason found';
      assert.match((await assay(restore, 'n')).err, /revoked .* by token:admin: stolen/);
      assert.equal((await assay(restore, 'y')).code, 0);
      assert.doesNotMatch((await assay('disk list')).out, /revoked/);
    });
  });

  describe('beside enrol revoke', () => {
    const revoke = 'enrol revoke node-1 --reason sold';

    it('names the volumes that get no key any more, and how to keep their passphrases, before it asks', async () => {
      await assay(init);
      await assay('disk init node-2 --volume kubelet --path /var/lib/kubelet');
      const { code, err } = await assay(revoke, 'n');
      assert.equal(code, 1);
      assert.match(err, /no key any more for its volume docker \(\/var\/lib\/docker\): /);
      assert.match(err, /^ {2}assay disk escrow node-1 docker -f node-1-docker\.age$/m);
      assert.match(err, /stays bound to the earlier TPM\..*\n {2}assay disk rotate node-1 docker$/m);
      assert.doesNotMatch(err, /kubelet/);
      assert.match((await assay(`${revoke} --dry-run`)).out, /its volume docker/);
    });

    it('says nothing of volumes where a node has none', async () => {
      assert.doesNotMatch((await assay(`${revoke} --dry-run`)).out, /volume/);
    });
  });

  describe('beside enrol approve', () => {
    const approve = (ek: string) => assay(`enrol approve node-1 --ek ${ek}`);

    it('says which volumes stay bound to the earlier TPM, and what binds them to this one', async () => {
      await assay(init);
      const { code, out, err } = await approve('cd'.repeat(32));
      assert.equal(code, 0, err);
      assert.match(out, /enrols as node-1/);
      assert.match(
        err,
        /^its volume stays bound to the earlier TPM\..*\n {2}assay disk rotate node-1 docker\n$/,
      );
    });

    it('says nothing where its volumes are of this TPM, or it has none', async () => {
      assert.equal((await approve('cd'.repeat(32))).err, '');
      await assay(init);
      assert.equal((await approve(madeNode('node-1').ekDigest)).err, '');
    });
  });

  describe('escrow', () => {
    const inDir = (name: string) => join(server.dir, name);
    const opened = async (file: string) =>
      (await run('age', ['--decrypt', '-i', inDir('recovery.key'), inDir(file)], bounds)).stdout.toString();
    beforeEach(async () => {
      writeFileSync(inDir('recovery.key'), `${made.identity}\n`, { mode: 0o600 });
      await assay(init);
    });

    it('writes the passphrase so that the program age opens it, and says how', async () => {
      const { code, out, err } = await assay('disk escrow node-1 docker');
      assert.equal(code, 0, err);
      writeFileSync(inDir('stdout.age'), out);
      assert.match(await opened('stdout.age'), /^([0-9a-z]{5}-){7}[0-9a-z]{5}$/);
      assert.match(err, /^ {2}age --decrypt -i KEY FILE$/m);
      writeFileSync(inDir('docker.age'), '', { mode: 0o644 });
      const { code: again } = await assay('disk escrow node-1 docker -f docker.age');
      assert.deepEqual([again, statSync(inDir('docker.age')).mode & 0o777], [0, 0o600]);
      assert.equal(await opened('docker.age'), await opened('stdout.age'));
      const recovered = await assay('disk recover docker.age -i recovery.key');
      assert.deepEqual([recovered.out, recovered.err], [`${await opened('docker.age')}\n`, '']);
    });

    it('writes the header beside it, once its node has formatted the volume', async () => {
      const line = 'disk escrow node-1 docker -f passphrase.age --header header.age';
      const early = await assay(line);
      assert.equal(early.code, 1);
      assert.match(early.err, /has not formatted it/);
      assert.ok(!existsSync(inDir('header.age')) && !existsSync(inDir('passphrase.age')));
      await format('LUKS header');
      const { code, out, err } = await assay(line);
      assert.deepEqual([code, out], [0, ''], err);
      assert.equal(await opened('header.age'), 'LUKS header');
      assert.match(await opened('passphrase.age'), /^([0-9a-z]{5}-){7}/);
      assert.match(err, /^ {2}age --decrypt -i KEY -o header\.img header\.age$/m);
      assert.doesNotMatch(readFileSync(inDir('passphrase.age'), 'latin1'), /docker|node-1/);
    });

    it('is for admins alone', async () => {
      const env = environmentOf(server, 'operator-token');
      const { code, out, err } = await runAssay(['disk', 'escrow', 'node-1', 'docker'], { env });
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, /this needs the role admin/);
    });
  });

  describe('recover', () => {
    const inDir = (name: string) => join(server.dir, name);
    const header = Buffer.from('LUKS\xba\xbe\0\x02header', 'latin1');
    beforeEach(async () => {
      writeFileSync(inDir('own.key'), `# created\n${made.identity}\n`);
      writeFileSync(inDir('other.key'), await generateIdentity());
      const sealed = await sealForRecovery(header, [await identityToRecipient(made.identity)]);
      writeFileSync(inDir('header.age'), armoured(sealed));
      writeFileSync(inDir('binary.age'), sealed);
      const hostile = Buffer.from('ends\n\x1b]52;c;cm0gLXJmCg==\x07');
      writeFileSync(
        inDir('hostile.age'),
        await sealForRecovery(hostile, [await identityToRecipient(made.identity)]),
      );
      writeFileSync(inDir('cut.age'), sealed.subarray(0, -1));
      writeFileSync(inDir('spoilt.key'), 'AGE-SECRET-KEY-1QQQQ\n');
    });
    const recover = (line: string) =>
      runAssay(['disk', 'recover', ...line.split(' ')], { env: {}, cwd: server.dir });

    it('writes the header into a file, by any of the identities, and asks no server', async () => {
      for (const file of ['header.age', 'binary.age']) {
        // Attack: whoever may read what lies there under that name reads the next one, too, by an earlier descriptor as well.
        rmSync(inDir('header.img'), { force: true });
        writeFileSync(inDir('header.img'), '', { mode: 0o644 });
        const earlier = openSync(inDir('header.img'), 'r');
        const { code, out, err } = await recover(`${file} -i other.key -i own.key -f header.img`);
        assert.equal(readFileSync(earlier, 'latin1'), '');
        closeSync(earlier);
        assert.deepEqual([code, out, err], [0, '', '']);
        assert.deepEqual(readFileSync(inDir('header.img')), header);
        assert.equal(statSync(inDir('header.img')).mode & 0o777, 0o600);
      }
    });

    it('writes to what is no file, and through a link to what it names', async () => {
      symlinkSync('linked.img', inDir('link'));
      writeFileSync(inDir('linked.img'), '', { mode: 0o644 });
      assert.equal((await recover('header.age -i own.key -f link')).code, 0);
      assert.deepEqual(readFileSync(inDir('linked.img')), header);
      assert.equal(statSync(inDir('linked.img')).mode & 0o777, 0o600);
      assert.equal((await recover('header.age -i own.key -f /dev/null')).code, 0);
      assert.equal(statSync('/dev/null').isCharacterDevice(), true);
      const { code, err } = await recover('header.age -i own.key -f none/header.img');
      assert.equal(code, 1);
      assert.match(err, /header\.img cannot be written \(ENOENT\)/);
    });

    it('names the option that is missing', async () => {
      const { code, err } = await recover('header.age');
      assert.equal(code, 2);
      assert.match(err, /--identity/);
    });

    for (const [line, says] of [
      [
        'header.age -i own.key',
        /no text[\s\S]*recover header\.age --identity own\.key -f header\.img[\s\S]*luksHeaderRestore/,
      ],
      ['hostile.age -i own.key', /hostile\.age holds what is no text/],
      [
        'header.age -i other.key',
        /no identity that is named opens header\.age: [\s\S]* than age1[0-9a-z]{58}\n[\s\S]*another installation[\s\S]*assay disk list -o wide/,
      ],
      ['cut.age -i own.key', /cut\.age cannot be decrypted: it is damaged/],
      ['own.key -i own.key', /own\.key cannot be decrypted/],
      ['header.age -i header.age', /no identity of age[\s\S]*age --decrypt -o identity\.txt header\.age/],
      ['header.age -i binary.age', /no identity of age[\s\S]*age --decrypt -o identity\.txt binary\.age/],
      ['header.age -i spoilt.key', /spoilt\.key has an identity that age does not take/],
      ['none.age -i own.key', /none\.age does not exist/],
      ['header.age -i none.key', /none\.key does not exist/],
    ] as const)
      it(`says what is wrong: ${line}`, async () => {
        const { code, out, err } = await recover(line);
        assert.deepEqual([code, out], [1, '']);
        assert.match(err, says);
        assert.doesNotMatch(err, /AGE-SECRET-KEY-1/);
      });

    it('has no word of an identity with a fault in its error, nor in the cause of that', async () => {
      const mistyped = `${made.identity.slice(0, -1)}${made.identity.endsWith('Q') ? 'P' : 'Q'}`;
      writeFileSync(inDir('spoilt.key'), mistyped);
      const context = { io: { cwd: server.dir } } as never;
      await assert.rejects(recoverFile(context, 'header.age', { identity: ['spoilt.key'] }), (error) => {
        assert.doesNotMatch(inspect(error), /AGE-SECRET-KEY-1/);
        return true;
      });
    });
  });
});
