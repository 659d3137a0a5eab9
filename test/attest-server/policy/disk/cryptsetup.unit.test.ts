import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { type Reference, reference as referenceSchema } from '../../../../attest-server/formats/reference.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import {
  leasedReference,
  rotatedReference,
  rotatingReference,
} from '../../../../attest-server/policy/disk/leased-volume.ts';
import type { DiskPart, LuksHeader } from '../../../../attest-server/wire/disk.ts';
import { codesOf, group, judged, madeDevice, proofWith } from './made-disk.ts';

const quick = ['--batch-mode', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];

describe('a volume that cryptsetup made', () => {
  let dir = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-luks-'));
    await writeFile(join(dir, 'key'), 'one');
    await writeFile(join(dir, 'other'), 'two');
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const cryptsetup = async (...args: readonly string[]) =>
    (await run('cryptsetup', args, { timeoutMs: 20_000, maxOutputBytes: 1024 * 1024 })).stdout.toString();

  async function made(name: string, ...options: readonly string[]): Promise<string> {
    const image = join(dir, name);
    await writeFile(image, '');
    await truncate(image, 20 * 1024 * 1024);
    await cryptsetup('luksFormat', ...quick, ...options, image, join(dir, 'key'));
    return image;
  }

  /** As it would be shown once it is open and mounted: the mapping is what its header says. */
  async function shown(image: string, opened?: string): Promise<DiskPart> {
    const uuid = (await cryptsetup('luksUUID', image)).trim();
    const metadata = await cryptsetup('luksDump', '--dump-json-metadata', image);
    const cipher = /"segments":[\s\S]*?"encryption":\s*"([^"]+)"/.exec(metadata)?.[1] ?? '';
    const header: LuksHeader = {
      device: '8:1',
      detachedAt: null,
      version: 2,
      uuid,
      digest: null,
      metadata,
      luks1: null,
    };
    const bare = (opened ?? uuid).replaceAll('-', '');
    const bytes = /"key_size":\s*(\d+)/.exec(metadata)?.[1];
    const table = [`0 8192 crypt ${cipher} :${bytes}:logon:cryptsetup:${uuid}-d0 0 8:1 32768`];
    return {
      version: 1,
      paths: ['docker', 'containerd', 'kubelet'].map((each) => ({
        path: `/var/lib/${each}`,
        real: each === 'docker' ? '/var/lib/docker' : null,
      })),
      mounts: ['1 0 8:0 / / rw - ext4 /dev/sda rw', '2 1 253:0 / /var/lib/docker rw - ext4 /dev/mapper/d rw'],
      devices: [
        madeDevice('253:0', 'dm-0', {
          slaves: ['8:1'],
          mapping: { name: 'd', uuid: `CRYPT-LUKS2-${bare}-d`, table },
        }),
        madeDevice('8:1', 'sda1', { partitionOf: '8:0' }),
        madeDevice('8:0', 'sda'),
      ],
      inspected: { at: '2026-11-25T00:00:00Z', headers: [header], unreadable: [], swaps: [], residue: [] },
    };
  }

  const enrol = (part: DiskPart): Reference =>
    disk.capture!(proofWith(part), { name: 'r', state: 'active', group, node: 'n', by: 'me', at: 0 });

  it('is right as LUKS2 with the usual cipher, and known by its reference', async () => {
    const part = await shown(await made('good', '--type', 'luks2'));
    assert.deepEqual(codesOf(judged(part)), []);
    assert.equal(judged(part, { references: [enrol(part)] }).affirmed, true);
  });

  it('is not with another cipher', async () => {
    const image = await made(
      'cbc',
      '--type',
      'luks2',
      '--cipher',
      'aes-cbc-essiv:sha256',
      '--key-size',
      '256',
    );
    assert.deepEqual(codesOf(judged(await shown(image))), ['luks_cipher']);
  });

  it('gets a key more, or a token (row 55)', async () => {
    const image = await made('two', '--type', 'luks2');
    const references = [enrol(await shown(image))];
    await cryptsetup('token', 'add', '--key-description', 'installer', image);
    assert.deepEqual(codesOf(judged(await shown(image), { references })), ['luks_extra_keyslot']);
    await cryptsetup('luksAddKey', ...quick, '--key-file', join(dir, 'key'), image, join(dir, 'other'));
    assert.deepEqual(codesOf(judged(await shown(image), { references })), ['luks_extra_keyslot']);
    assert.deepEqual(codesOf(judged(await shown(image))), ['luks_extra_keyslot']);
  });

  it('has a TPM and a recovery key, as systemd-cryptenroll adds them: told what there is, and known once captured', async () => {
    const image = await made('enrolled', '--type', 'luks2');
    const addKey = () =>
      cryptsetup('luksAddKey', ...quick, '--key-file', join(dir, 'key'), image, join(dir, 'other'));
    const addToken = async (token: object) => {
      await writeFile(join(dir, 'token.json'), JSON.stringify(token));
      await cryptsetup('token', 'import', '--json-file', join(dir, 'token.json'), image);
    };
    await addKey();
    // The first as systemd 257 wrote it, the other with the members that its source has.
    await addToken({ type: 'systemd-recovery', keyslots: ['1'] });
    await addKey();
    await addToken({
      type: 'systemd-tpm2',
      keyslots: ['2'],
      'tpm2-blob': 'AAAA',
      'tpm2-pcrs': [7],
      'tpm2-pcr-bank': 'sha256',
      'tpm2-primary-alg': 'ecc',
      'tpm2-policy-hash': '00'.repeat(32),
      'tpm2-pin': false,
    });
    const part = await shown(image);
    const found = judged(part);
    assert.deepEqual([codesOf(found), found.affirmed], [['[luks_extra_keyslot]'], true]);
    assert.equal(
      found.findings[0]?.actual,
      'keyslot 0: a passphrase or a key file, keyslot 1: a recovery key, keyslot 2: the TPM',
    );
    assert.deepEqual(codesOf(judged(part, { references: [enrol(part)] })), []);
    // Attack: a keyslot that a second token calls a recovery key, and one that no token names.
    await addKey();
    assert.deepEqual(codesOf(judged(await shown(image))), ['luks_extra_keyslot']);
    await addToken({ type: 'systemd-recovery', keyslots: ['3'] });
    assert.deepEqual(codesOf(judged(await shown(image))), ['luks_extra_keyslot']);
  });

  it('has no reference as a leased volume where its recovery keyslot leads to no key of the data', async () => {
    const image = await made('unbound', '--type', 'luks2', '--key-size', '512');
    await cryptsetup('luksAddKey', ...quick, '--key-file', join(dir, 'key'), image, join(dir, 'other'));
    const { inspected } = await shown(image);
    assert('headers' in inspected);
    const [{ uuid, metadata } = assert.fail()] = inspected.headers;
    const faultOf = (text: string) => {
      const volume = { node: 'n', uuid, path: '/var/lib/docker' };
      const found = leasedReference(volume, { uuid, metadata: text, digest: '' }, group, 0);
      return 'fault' in found ? found.fault : null;
    };
    assert.equal(faultOf(metadata ?? ''), null);
    const { digests, ...rest } = JSON.parse(metadata ?? '');
    const unbound = { ...rest, digests: { 0: { ...digests['0'], keyslots: ['0'] } } };
    assert.equal(faultOf(JSON.stringify(unbound)), 'one of its keyslots opens nothing');
  });

  it('has a reference as a volume whose key is leased, with two keyslots and nothing else (row 411)', async () => {
    const leased = async (image: string) => {
      const { inspected } = await shown(image);
      assert('headers' in inspected);
      const [{ uuid, metadata } = assert.fail()] = inspected.headers;
      const volume = { node: 'n', uuid, path: '/var/lib/docker' };
      return leasedReference(volume, { uuid, metadata: metadata ?? '', digest: '' }, group, 0);
    };
    const addKey = (image: string, ...options: readonly string[]) =>
      cryptsetup(
        'luksAddKey',
        ...quick,
        '--key-file',
        join(dir, 'key'),
        ...options,
        image,
        join(dir, 'other'),
      );
    const image = await made('leased', '--type', 'luks2', '--key-size', '512');
    assert.deepEqual(await leased(image), { fault: 'it has other ways in than keyslot 1 and one besides' });
    await addKey(image);
    const reference = await leased(image);
    assert(!('fault' in reference));
    assert.deepEqual(
      [referenceSchema.parse(reference), reference.name.startsWith('disk-'), reference.captured?.node],
      [reference, true, 'n'],
    );
    const found = judged(await shown(image), { references: [reference] });
    assert.deepEqual([codesOf(found), found.references], [[], [reference.name]]);
    await addKey(image);
    assert.deepEqual(codesOf(judged(await shown(image), { references: [reference] })), [
      'luks_extra_keyslot',
    ]);
    assert.deepEqual(await leased(image), { fault: 'it has other ways in than keyslot 1 and one besides' });
    for (const [name, options, fault] of [
      [
        'cbc',
        ['--cipher', 'aes-cbc-essiv:sha256', '--key-size', '256'],
        /does not encrypt one segment by aes-xts-plain64/,
      ],
      ['short', ['--key-size', '256'], /with a key of 512 bit/],
    ] as const) {
      const other = await made(`leased-${name}`, '--type', 'luks2', ...options);
      await addKey(other);
      const refused = await leased(other);
      assert.match('fault' in refused ? refused.fault : 'taken', fault);
    }
    const token = await made('leased-token', '--type', 'luks2', '--key-size', '512');
    await addKey(token);
    await cryptsetup('token', 'add', '--key-description', 'installer', token);
    assert('fault' in (await leased(token)));
  });

  it('has either header while its key is replaced, then the next one alone, and never another passphrase for recovery (row 438)', async () => {
    const image = await made('rotating', '--type', 'luks2', '--key-size', '512');
    const slot = (verb: string, ...args: readonly string[]) =>
      cryptsetup(verb, ...(verb === 'luksAddKey' ? quick : ['--batch-mode']), ...args);
    const key = ['--key-file', join(dir, 'key'), image];
    await slot('luksAddKey', '--key-slot', '1', ...key, join(dir, 'other'));
    const seen = async () => {
      const part = await shown(image);
      assert('headers' in part.inspected);
      const [{ uuid, metadata } = assert.fail()] = part.inspected.headers;
      const header = { uuid, metadata: metadata ?? '', digest: '' };
      const reference = leasedReference({ node: 'n', uuid, path: '/var/lib/docker' }, header, group, 0);
      assert(!('fault' in reference));
      return { part, reference };
    };
    const before = await seen();
    await slot('luksAddKey', '--key-slot', '2', ...key, join(dir, 'key'));
    await slot('luksKillSlot', ...key, '0');
    const after = await seen();
    const rotating = rotatingReference(before.reference, after.reference);
    const codes = ({ part }: typeof before, reference: Reference) =>
      codesOf(judged(part, { references: [referenceSchema.parse(reference)] }));
    const changed = ['luks_header_changed', 'luks_extra_keyslot'];
    assert.deepEqual(codes(after, before.reference), changed);
    assert.deepEqual([codes(before, rotating), codes(after, rotating)], [[], []]);
    const rotated = rotatedReference(rotating);
    assert.deepEqual([codes(before, rotated), codes(after, rotated)], [changed, []]);
    // A boot that was cut makes another one.
    assert.deepEqual(rotatingReference(rotating, after.reference), rotating);
    await slot('luksKillSlot', ...key, '1');
    await slot('luksAddKey', '--key-slot', '1', ...key, join(dir, 'key'));
    const tampered = await seen();
    assert.throws(() => rotatingReference(before.reference, tampered.reference), { code: 'malformed' });
    const uuid = before.reference.disk?.volumes[0]?.uuid ?? '';
    await made('rotating', '--type', 'luks2', '--key-size', '512', '--uuid', uuid);
    await slot('luksAddKey', '--key-slot', '1', ...key, join(dir, 'other'));
    const anew = await seen();
    assert.throws(() => rotatingReference(before.reference, anew.reference), { code: 'malformed' });
  });

  it('gets a key that opens nothing (row 55)', async () => {
    const image = await made('unbound', '--type', 'luks2');
    const references = [enrol(await shown(image))];
    await cryptsetup('luksAddKey', ...quick, '--unbound', '--key-size', '512', image, join(dir, 'other'));
    assert.deepEqual(codesOf(judged(await shown(image), { references })), ['luks_extra_keyslot']);
  });

  it('gets another passphrase, or is formatted anew (rows 51 and 107)', async () => {
    const image = await made('again', '--type', 'luks2');
    const part = await shown(image);
    const references = [enrol(part)];
    const uuid = (await cryptsetup('luksUUID', image)).trim();
    await cryptsetup(
      'luksChangeKey',
      ...quick,
      '--key-slot',
      '0',
      '--key-file',
      join(dir, 'key'),
      image,
      join(dir, 'other'),
    );
    assert.deepEqual(codesOf(judged(await shown(image), { references })), ['luks_header_changed']);
    await made('again', '--type', 'luks2', '--uuid', uuid);
    assert.deepEqual(codesOf(judged(await shown(image), { references })), ['luks_header_changed']);
    await made('again', '--type', 'luks2');
    assert.deepEqual(codesOf(judged(await shown(image, uuid))), ['luks_header_changed']);
  });

  it('begins to be reencrypted (row 53)', async () => {
    const image = await made('re', '--type', 'luks2');
    await cryptsetup('reencrypt', ...quick, '--init-only', '--key-file', join(dir, 'key'), image);
    assert.ok(codesOf(judged(await shown(image))).includes('luks_reencrypt_state'));
  });
});
