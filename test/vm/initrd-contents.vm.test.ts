import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { atOnce } from '../../attest-server/formats/in-steps.ts';
import { keepsContent } from '../../attest-server/formats/initrd-kinds.ts';
import { judgeInitrd } from '../../attest-server/policy/boot/initrd/judge-initrd.ts';
import { listedFiles } from '../../attest-server/policy/listed-files.ts';
import { runtimeReference } from '../attest-server/policy/made-files.ts';
import { readInitrd } from '../attest-server/verify/initrd/read-initrd.ts';
import { debianInitrd } from './debian-initrd.ts';
import { listOfPackages } from './package-list.ts';

/** No virtual machine, but packages of an archive, and root to make an initrd of them in a root of its own. */
describe('an initrd that Debian makes today', function () {
  this.timeout(0);

  async function judged(by: Parameters<typeof debianInitrd>[0]) {
    await using made = await debianInitrd(by);
    const manifest = await readInitrd(made.image, { keepsContent });
    assert.deepEqual(manifest.faults, []);
    const packages = atOnce(listedFiles(runtimeReference(await listOfPackages(made.packages))));
    assert.ok(packages);
    const { count, unknown, listed } = atOnce(
      judgeInitrd(manifest, { active: [packages], revoked: [], idle: [] }),
    );
    return { count, listed: listed.get('files') ?? 0, unknown: unknown.map(({ entry }) => entry.path) };
  }

  it('by initramfs-tools is known by its packages, but for what the host alone can say', async () => {
    const { count, listed, unknown } = await judged('initramfs-tools');
    assert.ok(count > 600 && listed > 0.95 * count, `${listed} of ${count}`);
    const hosts = /^(?:cryptroot\/crypttab|etc\/mdadm\/mdadm\.conf(?:\.tmp)?)$/;
    assert.deepEqual(
      unknown.filter((path) => !hosts.test(path)),
      [],
    );
    assert.ok(unknown.includes('cryptroot/crypttab'));
  });

  it('by dracut is known by its packages, but for what is the same on its siblings', async () => {
    const { count, listed, unknown } = await judged('dracut');
    assert.ok(count > 600 && listed > 0.9 * count, `${listed} of ${count}`);
    const alike =
      /^etc\/(?:cmdline\.d\/.+|conf\.d\/systemd\.conf|(?:passwd|group|shadow|gshadow)-?)$|^usr\/lib\/udev\/(?:rules\.d\/64-md-raid-assembly\.rules|hwdb\.bin)$/;
    assert.deepEqual(
      unknown.filter((path) => !alike.test(path)),
      [],
    );
  });
});
