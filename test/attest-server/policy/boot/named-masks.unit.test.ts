import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { comparedCommands } from '../../../../attest-server/policy/boot/loader-commands.ts';
import {
  type MaskName,
  maskArgument,
  maskNames,
  namedMasks,
} from '../../../../attest-server/policy/boot/named-masks.ts';

const checksum = '28f8e018c4312083b210ce13c9fdab9dcb7883a0200802dca4eeddc1030eb715';
const root = '1839da262570fb938be558d95db7fc3d986a0d71e1b77d40d35a3e2a1bac7dcd';

function command(text: string, mask: MaskName): string | undefined {
  const one = { pcr: 8, kind: 'command', text };
  return comparedCommands([one], [mask]).get(one);
}

describe('a named mask', () => {
  it('is in the list of those that a policy may name, and says what it masks and who wrote that down', () => {
    assert.deepEqual([...maskNames], Object.keys(namedMasks));
    for (const { masks, source } of Object.values(namedMasks))
      assert.ok(masks.length > 0 && source.length > 0);
  });

  const alike: readonly (readonly [MaskName, string, string])[] = [
    ['flatcar', 'set gptprio_kernel=/flatcar/vmlinuz-a', 'set gptprio_kernel=/flatcar/vmlinuz-b'],
    ['flatcar', 'set slot=a', 'set slot=b'],
    ['flatcar', 'load_slot a', 'load_slot b'],
    ['flatcar', 'configfile (hd0,gpt1)/flatcar/load-a', 'configfile (hd0,gpt1)/flatcar/load-b'],
    [
      'flatcar',
      'verify_detached (hd0,gpt1)/flatcar/load-a (hd0,gpt1)/flatcar/load-a.sig',
      'verify_detached (hd0,gpt1)/flatcar/load-b (hd0,gpt1)/flatcar/load-b.sig',
    ],
    ['bottlerocket', 'set root=hd0,gpt3', 'set root=hd0,gpt8'],
    ['bottlerocket', 'configfile (hd0,gpt3)/grub/grub.cfg', 'configfile (hd0,gpt8)/grub/grub.cfg'],
    ['eve', 'root=hd0,gpt2', 'root=hd0,gpt3'],
    ['eve', 'measurefs hd0,gpt2 --pcr 13', 'measurefs hd0,gpt3 --pcr 13'],
    [
      'ostree',
      `initrd (hd0,gpt3)/ostree/fedora-coreos-${checksum}/initramfs-6.1.img`,
      `initrd (hd0,gpt3)/ostree/fedora-coreos-${root}/initramfs-6.1.img`,
    ],
  ];
  for (const [mask, one, other] of alike)
    it(`${mask} makes one of: ${one} | ${other}`, () => {
      assert.equal(command(one, mask), command(other, mask));
      for (const another of maskNames.filter((name) => name !== mask))
        assert.notEqual(command(one, another), command(other, another));
    });

  const different: readonly (readonly [MaskName, string, string])[] = [
    ['flatcar', 'set slot=a', 'set slot=c'],
    ['flatcar', 'load_slot a', 'load_slot a b'],
    ['flatcar', 'set gptprio_kernel=/flatcar/vmlinuz-a', 'set gptprio_kernel=/flatcar/vmlinuz-b x'],
    [
      'flatcar',
      'verify_detached (hd0,gpt1)/flatcar/load-a (hd0,gpt1)/flatcar/load-a.sig',
      'verify_detached (hd0,gpt1)/flatcar/load-b (hd0,gpt1)/flatcar/load-a.sig',
    ],
    ['bottlerocket', 'set root=hd0,gpt3', 'set root=hd0,gpt4'],
    ['bottlerocket', 'set root=hd0,gpt3', 'set root=hd0,gpt3,gpt8'],
    ['eve', 'root=hd0,gpt2', 'root=hd0,gpt22'],
    ['ostree', `initrd /ostree/a-${checksum}/initramfs.img`, `initrd /ostree/b-${checksum}/initramfs.img`],
    ['ostree', `source /ostree/a-${checksum}/x`, `source /ostree/a-${root}/x`],
  ];
  for (const [mask, one, other] of different)
    it(`${mask} leaves different: ${one} | ${other}`, () =>
      assert.notEqual(command(one, mask), command(other, mask)));
});

describe('an argument of the kernel', () => {
  const deployment = (version: string, index: string, of = `fedora-coreos/${checksum}`) =>
    maskArgument(`ostree=/ostree/boot.${version}/${of}/${index}`, maskNames);

  it('that names a deployment is the same in both lists, and at every index', () => {
    assert.equal(deployment('0', '0'), `ostree=/ostree/boot.<n>/fedora-coreos/${checksum}/<n>`);
    for (const [version, index] of [
      ['1', '0'],
      ['0', '1'],
      ['1.1', '12'],
    ] as const)
      assert.equal(deployment(version, index), deployment('0', '0'));
  });

  it('that names another system or checksum is another one', () => {
    assert.notEqual(deployment('0', '0', `other/${checksum}`), deployment('0', '0'));
    assert.notEqual(deployment('0', '0', `fedora-coreos/${root}`), deployment('0', '0'));
  });

  const kept = [
    `verity.usrhash=${root}`,
    'mount.usr=PARTLABEL=USR-A',
    `dm-mod.create="root,,,ro,0 1 verity 1 a b 4096 4096 1 1 sha256 ${root} ${checksum}"`,
    `x="ostree=/ostree/boot.0/a/${checksum}/0"`,
    `ostree=/ostree/boot.0/a/${checksum}/0/../../x`,
    `ostree=/ostree/boot.2/a/${checksum}/0`,
    `ostree=/ostree/boot.0/../${checksum}/0x`,
    `xostree=/ostree/boot.0/a/${checksum}/0`,
  ];
  for (const word of kept)
    it(`stays as it is under all masks: ${word}`, () => assert.equal(maskArgument(word, maskNames), word));
});
