import assert from 'node:assert/strict';
import { armor, Decrypter } from 'age-encryption';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { problem } from '../../../attest-server/api/problem.ts';
import { volumeEscrow, volumeMade, volumeView } from '../../../attest-server/api/volume-api.ts';
import { sealForRecovery } from '../../../attest-server/keys/escrow.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { type MadeVolumes, madeHeader, openMadeVolumes } from '../keys/made-volumes.ts';
import { madeEvent, madeNode } from '../store/made-records.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  now,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from './api-fixture.ts';

const docker = { node: 'node-1', name: 'docker', path: '/var/lib/docker' };
const noKeys = 'other-1';
const unvouched = 'node-2';
const own = 'node-0';

describe('the API of volumes', () => {
  let made: MadeVolumes;
  let server: ApiServer;
  let world: World;

  async function start(holdsKeys = true): Promise<void> {
    world = emptyWorld();
    made = await openMadeVolumes(() => now, holdsKeys);
    world.volumes = made.volumes;
    world.policyGroups = made.groups;
    for (const name of [docker.node, noKeys, unvouched, own]) {
      const node = madeNode(name);
      const enrolled = name === unvouched ? { ...node, bound: 'first-use' as const } : node;
      world.nodes.set(name, { enrolled, status: null });
      await made.enrol(enrolled);
    }
    server = await startApi(world);
  }
  async function stop(): Promise<void> {
    await server.close();
    await made[Symbol.asyncDispose]();
  }
  beforeEach(() => start());
  afterEach(stop);

  const create = (change: object = {}, token = 'operator-token') =>
    ask(server, '/v1/volumes', { method: 'POST', token, body: JSON.stringify({ ...docker, ...change }) });
  const createDocker = async () => volumeMade.parse(JSON.parse((await create()).text));
  const list = async (query = '') =>
    listOf(volumeView).parse(JSON.parse((await ask(server, `/v1/volumes${query}`)).text)).items;
  const problemIn = ({ text }: { readonly text: string }) => problem.parse(JSON.parse(text));
  const entries = async () =>
    (await made.store.audit.entries({ limit: 100 }))
      .filter(({ action }) => action.startsWith('volume.'))
      .map(({ actor, action, subject, detail }) => ({ actor, action, subject, detail }));

  it('makes a volume, with the lines and the command of its node', async () => {
    const answered = await create();
    assert.equal(answered.status, 201);
    const { crypttab, fstab, next, ...view } = volumeMade.parse(JSON.parse(answered.text));
    const { uuid } = view;
    assert.equal(crypttab, `docker UUID=${uuid} /run/cryptsetup-keys.d/docker.key luks,_netdev,timeout=5min`);
    assert.equal(
      fstab,
      '/dev/mapper/docker /var/lib/docker ext4 _netdev,nofail,x-systemd.requires=assay-volume@docker.service,x-systemd.before=assay-agent.service 0 2',
    );
    const format = `assay-agent format --config /etc/assay/unlock.yaml --volume ${uuid} --device /dev/`;
    const units =
      'assay-unlock@docker.socket assay-volume@docker.service assay-rotate@docker.service assay-cap.service';
    const enable = `systemctl daemon-reload && systemctl enable ${units}`;
    for (const line of [crypttab, fstab, format, enable])
      assert.ok(
        next.split('\n').some((each) => each.startsWith(`  ${line}`)),
        line,
      );
    assert.deepEqual(await list(), [view]);
    assert.deepEqual([view.formattedAt, view.enrolled, view.createdBy], [null, true, 'token:operator']);
    assert.doesNotMatch(answered.text, /wrapped|recovery/);
    assert.deepEqual(await entries(), [
      {
        actor: 'token:operator',
        action: 'volume.add',
        subject: 'node-1',
        detail: { volume: uuid, name: 'docker', path: '/var/lib/docker' },
      },
    ]);
  });

  it('takes a key away, which an operator may, and gives it again, which an admin may', async () => {
    const { uuid } = await createDocker();
    const change = (action: string, token: string, of = uuid) =>
      ask(server, `/v1/volumes/${of}/${action}`, { method: 'POST', token, body: '{"reason": "stolen"}' });
    const revoked = await change('revoke', 'operator-token');
    assert.equal(revoked.status, 200);
    const shown = { at: new Date(now).toISOString(), by: 'token:operator', because: 'stolen' };
    assert.deepEqual(volumeView.parse(JSON.parse(revoked.text)).revoked, shown);
    assert.deepEqual((await list())[0]?.revoked, shown);
    assert.equal((await change('revoke', 'operator-token')).status, 409);
    assert.equal((await change('restore', 'operator-token')).status, 403);
    assert.equal((await change('restore', 'admin-token')).status, 200);
    assert.equal((await change('restore', 'admin-token')).status, 409);
    assert.equal((await list())[0]?.revoked, null);
    assert.equal((await change('revoke', 'operator-token', uuid.replace(/^./, 'x'))).status, 404);
    assert.equal((await change('revoke', 'reader-token')).status, 403);
    assert.deepEqual(
      (await entries()).slice(1).map(({ action, detail: { reason } }) => [action, reason]),
      [
        ['volume.revoke', 'stolen'],
        ['volume.restore', 'stolen'],
      ],
    );
  });

  it('makes none for the node that the server runs on, nor a second one at a path (row 106)', async () => {
    const cycle = await create({ node: own });
    assert.deepEqual([cycle.status, problemIn(cycle).code], [409, 'key_cycle']);
    assert.match(problemIn(cycle).next ?? '', /lsblk/);
    // Also of two that ask at once.
    const [first, second] = await Promise.all([create(), create({ name: 'images' })]);
    assert.deepEqual([first.status, second.status], [201, 409]);
    assert.match(problemIn(second).detail, /a volume images, or another one at \/var\/lib\/docker, already/);
    assert.equal((await create({ name: 'images', path: '/var/lib/images' })).status, 201);
    assert.equal((await list()).length, 2);
  });

  it('shows the forecast for a volume with those of its node, and of a node in lists and alone', async () => {
    await createDocker();
    const causes = [{ text: 'The newest kernel is unknown.', since: null, next: 'Approve it.' }];
    const nextBoot = { answer: 'would_not', hasLease: true, causes } as const;
    assert.equal((await list())[0]?.nextBoot, null);
    world.nextBoots = new Map([[docker.node, nextBoot]]);
    assert.deepEqual((await list())[0]?.nextBoot, nextBoot);
    const get = async (path: string) => JSON.parse((await ask(server, path)).text);
    assert.deepEqual(nodeView.parse(await get('/v1/nodes/node-1')).nextBoot, nextBoot);
    const listed = listOf(nodeView).parse(await get('/v1/nodes')).items;
    assert.deepEqual(
      listed.filter((node) => node.nextBoot !== null).map(({ name, state }) => [name, state]),
      [['node-1', 'pending']],
    );
  });

  it('lists those of one node, and says of a node that there is none', async () => {
    await create();
    assert.equal((await list('?node=node-1')).length, 1);
    assert.deepEqual(await list('?node=node-2'), []);
    assert.equal((await ask(server, '/v1/volumes?node=node-9')).status, 404);
    assert.equal((await ask(server, '/v1/volumes?node=Node')).status, 400);
  });

  it('shows which volume is of an earlier TPM of that name, and removes no other one', async () => {
    const { uuid } = await createDocker();
    const event = madeEvent('enrol.revoke', docker.node);
    await made.store.enrolment.revoke({ ...madeNode(docker.node), at: now, reason: 'exchanged' }, event);
    const exchanged = madeNode(docker.node, 'another board');
    await made.enrol(exchanged);
    world.nodes.set(docker.node, { enrolled: exchanged, status: null });
    const { uuid: newer } = await createDocker();
    const shown = async () => (await list()).map((one) => [one.uuid, one.ek, one.enrolled]);
    assert.deepEqual(
      new Set(await shown()),
      new Set([
        [uuid, madeNode(docker.node).ekDigest, false],
        [newer, exchanged.ekDigest, true],
      ]),
    );
    await ask(server, `/v1/volumes/${uuid}`, { method: 'DELETE', token: 'admin-token' });
    assert.deepEqual(await shown(), [[newer, exchanged.ekDigest, true]]);
  });

  it('says of a node and its volume why its latest boot got no key, and no longer once it has booted again', async () => {
    const { uuid } = await createDocker();
    const enrolled = madeNode(docker.node);
    const refused = { ekDigest: enrolled.ekDigest, volume: uuid, resetCount: 7, at: now - 60_000 };
    const refuse = (code: ReasonCode, volume = uuid) =>
      made.store.leases.refuse({ ...refused, volume, code, text: 'as it is' }, null);
    await refuse('root_unmeasured');
    await refuse('key_subject_mismatch', uuid.replaceAll(/[a-f]/g, '0'));
    const shown = async () =>
      nodeView
        .parse(JSON.parse((await ask(server, '/v1/nodes/node-1')).text))
        .refusedKeys.map(({ name, code, next }) => [name, code, next.length > 20]);
    assert.deepEqual(await shown(), [
      [null, 'key_subject_mismatch', true],
      ['docker', 'root_unmeasured', true],
    ]);
    const [listed] = await list();
    const at = new Date(refused.at).toISOString();
    assert.deepEqual(listed?.refused, { code: 'root_unmeasured', text: 'as it is', at });
    const proves = (resetCount: number, bootSeenAt: number) => {
      const status = statusOf(docker.node, verdictOf(), { resetCount, bootSeenAt });
      world.nodes.set(docker.node, { enrolled, status });
    };
    // Its TPM was cleared, and that is held against it: no boot of it is taken for a later one.
    proves(8, refused.at - 1);
    assert.equal((await shown()).length, 2);
    proves(8, refused.at + 1);
    assert.deepEqual([await shown(), (await list())[0]?.refused], [[], null]);
  });

  it('refuses a second volume of that name on the node', async () => {
    await create();
    const second = await create({ path: '/var/lib/other' });
    assert.deepEqual([second.status, problemIn(second).code], [409, 'conflict']);
    assert.match(problemIn(second).next ?? '', /^ {2}assay disk list node-1$/m);
    assert.equal((await list()).length, 1);
  });

  for (const [what, change, status, code] of [
    ['a node that is not enrolled', { node: 'node-9' }, 404, 'not_found'],
    ['a name of a node that is none', { node: 'Node 1' }, 400, 'invalid_field'],
    ['a group without keys', { node: noKeys }, 409, 'key_withheld'],
    ['a node that nobody vouches for', { node: unvouched }, 409, 'key_withheld'],
    ['a name with another character', { name: 'docker.data' }, 400, 'invalid_field'],
    ['a name that is too long', { name: 'a'.repeat(65) }, 400, 'invalid_field'],
    ['a name that looks like an option', { name: '-docker' }, 400, 'invalid_field'],
    ['a name that units would read as a path', { name: 'kube-let' }, 400, 'invalid_field'],
    ['the name of the device mapper itself', { name: 'control' }, 400, 'invalid_field'],
    ['a relative path', { path: 'var/lib/docker' }, 400, 'invalid_field'],
    ['the root', { path: '/' }, 400, 'invalid_field'],
    ['a path that leads upwards', { path: '/var/../etc' }, 400, 'invalid_field'],
    ['a path that ends in a dot', { path: '/var/lib/.' }, 400, 'invalid_field'],
    ['a path of two fields of fstab', { path: '/var/lib docker' }, 400, 'invalid_field'],
    ['a path of two lines', { path: '/var/lib\n/etc' }, 400, 'invalid_field'],
    ['a name with a dash, which stands for a slash in a unit', { name: 'kube-let' }, 400, 'invalid_field'],
    ['a path with a slash at its end', { path: '/var/lib/docker/' }, 400, 'invalid_field'],
    ['a member that it does not know', { size: 1 }, 400, 'invalid_field'],
  ] as const)
    it(`makes none for ${what}`, async () => {
      const answered = await create(change);
      assert.deepEqual([answered.status, problemIn(answered).code], [status, code], answered.text);
      if (status === 409) assert.match(problemIn(answered).next ?? '', /\n {2}\S/);
      assert.deepEqual(await list(), []);
    });

  it('takes the longest name, and a path with each character that it may have', async () => {
    assert.equal((await create({ name: `_${'a_'.repeat(31)}Z`, path: '/mnt/a.b_c@d+e:f-g' })).status, 201);
  });

  it('says what to do where the server holds no keys', async () => {
    await stop();
    await start(false);
    const answered = problemIn(await create());
    assert.deepEqual([answered.status, answered.code], [409, 'key_withheld']);
    assert.match(answered.next ?? '', /keys\.wrappingKeyFile[\s\S]*\n {2}\(umask 377; openssl rand/);
  });

  it('lets readers list, operators make, and only admins remove and read the escrow', async () => {
    const statusOf = async (method: string, path: string, token: string, body?: string) =>
      (await ask(server, path, { method, token, ...(body !== undefined && { body }) })).status;
    const { uuid } = await createDocker();
    const body = JSON.stringify(docker);
    assert.deepEqual(
      [
        await statusOf('GET', '/v1/volumes', 'reader-token'),
        await statusOf('POST', '/v1/volumes', 'reader-token', body),
        await statusOf('DELETE', `/v1/volumes/${uuid}`, 'operator-token'),
        await statusOf('GET', `/v1/volumes/${uuid}/escrow`, 'operator-token'),
      ],
      [200, 403, 403, 403],
    );
    assert.equal((await list()).length, 1);
  });

  describe('whose key is to be replaced', () => {
    const headerDigest = 'ab'.repeat(32);
    async function formatted(): Promise<string> {
      const { uuid } = await createDocker();
      await made.store.leases.keepHeader(madeHeader({ uuid, headerDigest, escrow: Buffer.from('by age') }));
      const event = madeEvent('volume.format', docker.node);
      await made.store.leases.formatted({ uuid, headerDigest, formattedAt: now }, event);
      return uuid;
    }
    const rotate = (uuid: string, body: object = {}, token = 'operator-token') =>
      ask(server, `/v1/volumes/${uuid}/rotate`, { method: 'POST', token, body: JSON.stringify(body) });
    const cancel = (uuid: string, token = 'operator-token') =>
      ask(server, `/v1/volumes/${uuid}/rotate`, { method: 'DELETE', token });
    /** Its board was exchanged, and somebody vouches for the new one, or nobody does. */
    async function exchange(bound: 'pin' | 'first-use'): Promise<string> {
      const event = madeEvent('enrol.revoke', docker.node);
      await made.store.enrolment.revoke({ ...madeNode(docker.node), at: now, reason: 'exchanged' }, event);
      const enrolled = { ...madeNode(docker.node, 'another board'), bound };
      await made.enrol(enrolled);
      world.nodes.set(docker.node, { enrolled, status: null });
      return enrolled.ekDigest;
    }

    it('gets the next one once, by an operator alone, and keeps the present one when it is called off (row 437)', async () => {
      const uuid = await formatted();
      const before = await made.store.leases.volume(uuid);
      assert.deepEqual(
        [(await rotate(uuid, {}, 'reader-token')).status, (await cancel(uuid, 'reader-token')).status],
        [403, 403],
      );
      const answered = await rotate(uuid);
      assert.equal(answered.status, 200, answered.text);
      const shown = volumeView.parse(JSON.parse(answered.text)).rotation;
      assert.deepEqual(shown, { since: new Date(now).toISOString(), by: 'token:operator', begun: false });
      const again = problemIn(await rotate(uuid));
      assert.equal(again.status, 409);
      assert.match(again.next ?? '', /Reboot node-1[\s\S]*\n {2}assay disk rotate node-1 docker --cancel/);
      assert.equal((await cancel(uuid)).status, 200);
      assert.equal((await cancel(uuid)).status, 409);
      assert.deepEqual(await made.store.leases.volume(uuid), before);
      assert.deepEqual((await entries()).map(({ actor, action }) => [actor, action]).slice(-2), [
        ['token:operator', 'volume.rotate'],
        ['token:operator', 'volume.rotate.cancel'],
      ]);
      assert.equal((await rotate('0'.repeat(36))).status, 404);
    });

    it('has none before it is formatted, nor where the policy has no recipients any more', async () => {
      const { uuid } = await createDocker();
      const early = problemIn(await rotate(uuid));
      assert.deepEqual([early.status, early.code], [409, 'conflict']);
      assert.match(early.detail, /not formatted yet/);
      await made.volumes.remove(uuid, 'token:test');
      const later = await formatted();
      world.policyGroups = made.groups.slice(1);
      const refused = problemIn(await rotate(later));
      assert.deepEqual([refused.status, refused.code], [409, 'key_withheld']);
      assert.match(refused.next ?? '', /recoveryRecipients/);
    });

    it('has none while its key is revoked', async () => {
      const uuid = await formatted();
      const volume = (await made.store.leases.volume(uuid)) ?? assert.fail();
      await made.volumes.revoke(volume, true, 'stolen', 'token:test');
      const refused = problemIn(await rotate(uuid));
      assert.deepEqual([refused.status, refused.code], [409, 'conflict']);
      assert.match(refused.next ?? '', /assay disk restore node-1 docker/);
    });

    it('has none where no wrapping key fits, which is said with what to do', async () => {
      const uuid = await formatted();
      const { key } = (await made.store.leases.volume(uuid)) ?? assert.fail();
      const lost = { key: { ...key, keyId: '0123456789abcdef' }, nextKey: null, recovery: null };
      const stored = (await made.store.leases.volume(uuid)) ?? assert.fail();
      assert.equal(
        await made.store.leases.rewrap([{ read: stored, by: lost }], () => madeEvent('key.rewrap', 'keys')),
        1,
      );
      const refused = problemIn(await rotate(uuid));
      assert.deepEqual([refused.status, refused.code], [409, 'key_withheld']);
      assert.match(refused.detail, /0123456789abcdef/);
      assert.match(refused.next ?? '', /wrappingKeyFile[\s\S]*\n {2}assay-server check/);
    });

    it('is bound to the TPM that its node has now, if that one is named and somebody vouches for it', async () => {
      const uuid = await formatted();
      const ek = await exchange('pin');
      const unnamed = problemIn(await rotate(uuid));
      assert.deepEqual([unnamed.status, unnamed.field], [409, 'ek']);
      assert.equal((await rotate(uuid, { ek: 'ab'.repeat(32) })).status, 409);
      const answered = await rotate(uuid, { ek });
      assert.equal(answered.status, 200, answered.text);
      const { ek: bound, enrolled } = volumeView.parse(JSON.parse(answered.text));
      assert.deepEqual([bound, enrolled], [ek, true]);
      assert.equal((await entries()).at(-1)?.detail.ek, ek);
    });

    it('stays that of the earlier TPM where nobody vouches for the new one', async () => {
      const uuid = await formatted();
      const refused = problemIn(await rotate(uuid, { ek: await exchange('first-use') }));
      assert.deepEqual([refused.status, refused.code], [409, 'key_withheld']);
      assert.match(refused.next ?? '', /assay enrol approve/);
      assert.equal((await list())[0]?.enrolled, false);
    });
  });

  it('removes a volume, once', async () => {
    const { uuid } = await createDocker();
    const remove = () => ask(server, `/v1/volumes/${uuid}`, { method: 'DELETE', token: 'admin-token' });
    const gone = await remove();
    assert.deepEqual([gone.status, JSON.parse(gone.text)], [200, { removed: uuid }]);
    assert.equal((await remove()).status, 404);
    assert.deepEqual(await list(), []);
    assert.deepEqual((await entries()).at(-1), {
      actor: 'token:admin',
      action: 'volume.remove',
      subject: 'node-1',
      detail: { volume: uuid, name: 'docker' },
    });
  });

  it('gives the passphrase to whoever has the recovery identity, and the header once there is one', async () => {
    const { uuid } = await createDocker();
    const escrowOf = async (query = '') =>
      volumeEscrow.parse(
        JSON.parse((await ask(server, `/v1/volumes/${uuid}/escrow${query}`, { token: 'admin-token' })).text),
      );
    const decrypter = new Decrypter();
    decrypter.addIdentity(made.identity);
    const opened = async (text: string) =>
      Buffer.from(await decrypter.decrypt(armor.decode(text))).toString('latin1');
    const { recovery, ...others } = await escrowOf();
    assert.deepEqual(others, { uuid });
    const read = (header: boolean) => ({
      actor: 'token:admin',
      action: 'volume.escrow',
      subject: 'node-1',
      detail: { volume: uuid, name: 'docker', header },
    });
    assert.deepEqual((await entries()).at(-1), read(false));
    assert.match(await opened(recovery), /^([0-9a-z]{5}-){7}[0-9a-z]{5}$/);
    assert.equal((await escrowOf('?header=true')).header, null);
    const recipient = made.groups[0]?.keys?.recoveryRecipients ?? [];
    const escrow = await sealForRecovery(Buffer.from('LUKS header'), recipient);
    await made.store.leases.keepHeader(madeHeader({ uuid, headerDigest: 'ab'.repeat(32), escrow }));
    const { header } = await escrowOf('?header=true');
    assert.equal(await opened(header ?? ''), 'LUKS header');
    assert.deepEqual((await entries()).at(-1), read(true));
    const count = (await entries()).length;
    const path = `/v1/volumes/${uuid.replaceAll(/[a-f]/g, '0')}/escrow`;
    assert.equal((await ask(server, path, { token: 'admin-token' })).status, 404);
    assert.equal((await entries()).length, count, 'nobody read anything');
  });
});
