import assert from 'node:assert/strict';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import type { TestServer } from '../attest-server/running-server.ts';
import { makeMachine, type VirtualMachine } from './guest.ts';
import { asTyped, type KeyMachine, keyMachine, volumeDevice } from './key-machine.ts';
import { type LeasingSite, leasingSite, type MadeVolume, node, vouching } from './leasing-site.ts';
import { sectionOf } from './typed-page.ts';

const recover = sectionOf('disk-keys', 'Recover a disk');
const newBoard = sectionOf('disk-keys', 'After a new board or TPM');
const exchanged = sectionOf('first-node', 'The board was exchanged');
const claims = z.object({ items: z.array(z.object({ ek: z.string(), nameEnrolled: z.boolean() })) });
const running = 'active\n'.repeat(4);

/** Each test goes on where the one before it ended. */
describe('a volume that is recovered, on another machine and under another TPM', function () {
  this.timeout(0);
  const resources = new AsyncDisposableStack();
  let site: LeasingSite;
  let world: TestServer;
  let machine: KeyMachine;
  let made: MadeVolume;
  let earlier: VirtualMachine;
  before(async () => {
    site = resources.use(await leasingSite());
    ({ world, machine } = site);
    earlier = machine.board;
    made = await site.makeVolume();
    await machine.guest.shell(`set -e
systemctl disable --now docker.socket docker
${made.format}
${made.lines}
${made.enable}
systemctl enable docker.socket docker`);
    await machine.reboot();
    await machine.until('systemctl is-active --quiet docker');
    await machine.guest.shell('echo written on the node >/var/lib/docker/file');
    await site.requireDisk();
  });
  after(() => resources.disposeAsync());

  const volume = async () => (await site.volume(made.uuid)) ?? assert.fail('there is no such volume');
  const list = () => site.typeHere(`assay disk list ${node} -o wide`);
  const data = () => machine.guest.shell('cat /var/lib/docker/file');

  it('is read on another machine, also once its header is destroyed', async () => {
    const [, escrow = '', openHeader = ''] = linesOf(recover.typed('you$'), 'assay disk ');
    await site.typeHere(escrow);
    await site.typeHere(openHeader, {});
    const files = join(site.dir, 'brought');
    await mkdir(files);
    for (const name of ['recovery.txt', 'docker.age', 'header.img'])
      await cp(join(site.dir, name), join(files, name));
    const [restore = '', open = '', close = ''] = [
      ...linesOf(recover.typed('node#'), 'cryptsetup '),
      ...recover.typed('rescue#'),
    ];
    await machine.moveTo(resources.use(await makeMachine()), async (image) => {
      await using other = await keyMachine(site.programs, undefined, { brought: { volume: image, files } });
      const typed = (lines: string) => other.guest.shell(`cd /root\n${asTyped(lines)}`);
      await typed(open);
      assert.equal(await other.guest.shell('cat /mnt/file'), 'written on the node\n');
      await other.guest.shell('echo and elsewhere >>/mnt/file');
      await typed(close);
      await other.guest.shell(
        `dd if=/dev/zero of=${volumeDevice} bs=1M count=16 conv=notrunc,fsync status=none`,
      );
      await assert.rejects(typed(open), /not a valid LUKS device/);
      await typed(restore);
      await typed(open);
      assert.equal(await other.guest.shell('cat /mnt/file'), 'written on the node\nand elsewhere\n');
      await typed(close);
    });
  });

  it('gets no key on a new board, where its passphrase opens it (row 86)', async () => {
    const { releasedAt } = await volume();
    await machine.shown(/waits for the key of volume \S+: enrolment_pending/);
    await machine.shown(/enter passphrase for disk docker/);
    machine.guest.console.type(`${await site.passphrase()}\n`);
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.states(), running);
    assert.equal(await data(), 'written on the node\nand elsewhere\n');
    assert.equal((await volume()).releasedAt, releasedAt);
  });

  it('is bound to the new TPM once that is enrolled', async () => {
    const ek = await world.until(async () => {
      const { items } = claims.parse(await world.call('GET', '/v1/enrolments'));
      return items.find(({ nameEnrolled }) => nameEnrolled)?.ek;
    }, 300_000);
    const [digest = ''] = exchanged.typed('node#');
    assert.match(await machine.guest.shell(`cd /root\n${asTyped(digest)}`), new RegExp(`^${ek}`, 'm'));
    const [ask = '', exchange = ''] = exchanged.typed('server#');
    const asked = await site.typeHere(ask);
    assert.match(asked, /ek_already_bound: Another TPM claims the name worker-1/);
    assert.match(asked, new RegExp(`^worker-1 +${ek} .*the name is enrolled by another$`, 'm'));
    await site.typeHere(exchange.replace(/revoke .*/, '$& --yes').replace('DIGEST', ek));
    assert.match(await list(), /\/var\/lib\/docker +formatted, of another TPM /);
    const [rotate = ''] = newBoard.typed('you$');
    const shown = await site.typeHere(`${rotate} --dry-run`);
    assert.ok(shown.includes((await volume()).ekDigest) && shown.includes(ek), shown);
    await site.typeHere(`${rotate} --yes`);
    assert.match(await list(), new RegExp(`rotating since \\w+, at its next boot .* ${ek} `));
  });

  it('gets its key under the new TPM, and then the next one', async () => {
    const before = await volume();
    await machine.reboot();
    await machine.shown(/worker-1 got the key of volume/);
    await machine.until('systemctl is-active --quiet docker');
    await world.until(async () => (await volume()).rotation === null, 300_000);
    assert.notEqual((await volume()).headerDigest, before.headerDigest);
    assert.equal(await machine.states(), running);
    assert.equal(await data(), 'written on the node\nand elsewhere\n');
    await site.typeHere(vouching('assay get nodes worker-1 --wait trusted'));
    assert.match(await list(), /\/var\/lib\/docker +formatted +\d/);
    const codes = (await world.status(node))?.verdict?.reasons.map(({ code }) => code);
    assert.ok(!codes?.includes('volume_exposed'), `untrusted before the volume was mounted: ${codes}`);
  });

  it('gets no key under the earlier TPM, where that is put back', async () => {
    const { releasedAt } = await volume();
    await machine.moveTo(earlier);
    await machine.shown(/waits for the key of volume \S+: enrolment_pending/);
    await machine.shown(/enter passphrase for disk docker/);
    assert.equal((await volume()).releasedAt, releasedAt);
  });
});

/** Those lines of blocks that begin so. */
function linesOf(blocks: readonly string[], beginning: string): readonly string[] {
  return blocks.flatMap((block) => block.split('\n')).filter((line) => line.startsWith(beginning));
}
