import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { versionInName, withoutVersion } from '../../../../attest-server/policy/boot/kernel-version.ts';

describe('the version in the name of a file', () => {
  const names = [
    ['(hd0,gpt2)/vmlinuz-5.14.0-183.el9.x86_64', '5.14.0-183.el9.x86_64'],
    ['/boot/vmlinuz-6.12.118+deb13-amd64', '6.12.118+deb13-amd64'],
    ['/boot/initrd.img-5.10.0-rc1+', '5.10.0-rc1+'],
    ['/initramfs-6.11.5-300.fc41.x86_64.img', '6.11.5-300.fc41.x86_64'],
    ['/boot/initrd-5.14.21-150500.55-default', '5.14.21-150500.55-default'],
    ['/c7e0f9f13ca94424a65113a185402288/6.11.5-300.fc41.x86_64/linux', '6.11.5-300.fc41.x86_64'],
    ['/vmlinuz', null],
    ['grub_linuxefi Kernel', null],
    ['/syslinux/vmlinuz.A', null],
    ['/xcat/vmlinuz-5.4-x/kernel', null],
    ['/initramfs-0-rescue-84df3145151c428d9e6fc3eaa732b9c1.img', null],
  ] as const;
  for (const [name, version] of names)
    it(`${name} is ${version}`, () => assert.equal(versionInName(name), version));
});

describe('a command without the version of the kernel', () => {
  const version = '6.1.0-13-amd64';
  const masked = [
    [`initrd /boot/initrd.img-${version}`, 'initrd /boot/initrd.img-<version>'],
    [`initrd (hd0,gpt2)/initramfs-${version}.img`, 'initrd (hd0,gpt2)/initramfs-<version>.img'],
    [`initrd /ucode.img /id/${version}/initrd.gz`, 'initrd /ucode.img /id/<version>/initrd.gz'],
    [`devicetree /dtb-${version}`, 'devicetree /dtb-<version>'],
  ] as const;
  for (const [command, expected] of masked)
    it(`is ${expected}`, () => assert.equal(withoutVersion(command, version), expected));

  const kept = [
    `initrd /initrd.img-${version}-evil`,
    `initrd /initrd.img-x${version}`,
    `initrd newc:/etc/modules-${version}:/x`,
    `initrd newc:${version}:/x-${version}`,
    `initrd ${version}`,
    `set kernelopts=x=/initrd.img-${version}`,
    `module2 /vmlinuz-${version} a=/${version}`,
    `configfile /grub-${version}`,
    `source /boot/${version}/x`,
  ];
  for (const command of kept)
    it(`has it still where it names no file that is read and measured: ${command}`, () =>
      assert.equal(withoutVersion(command, version), command));
});
