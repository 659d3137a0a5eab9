import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import type { ComponentDifference } from '../../../../../attest-server/cli/offline/boot/component-diff.ts';
import { type Reference, reference } from '../../../../../attest-server/formats/reference.ts';
import { captureReference } from '../../../../../attest-server/policy/boot/capture.ts';
import {
  certificateTableAt,
  checksumAt,
  headerBytes,
  signedPe,
} from '../../../../../swtpm-fixtures/made-pe.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { madeProof, policyOf, verdictOn } from '../../../policy/made-proof.ts';
import { runAssay } from '../../cli-fixture.ts';
import { namedPe } from './named-pe.ts';

const sha256 = (...parts: readonly (Buffer | string)[]) =>
  hash('sha256', Buffer.concat(parts.map((part) => Buffer.from(part))), 'hex');
const utf16 = (text: string) => Buffer.from(text, 'utf16le');

/** As the specification says it: all but the checksum, where the signatures lie, and the gaps between sections. */
function authenticode(bytes: Buffer, sections: readonly Buffer[], plus = true): string {
  const table = certificateTableAt(plus);
  const head = [
    bytes.subarray(0, checksumAt),
    bytes.subarray(checksumAt + 4, table),
    bytes.subarray(table + 8, headerBytes),
  ];
  const hashed = headerBytes + sections.reduce((sum, { length }) => sum + length, 0);
  return sha256(...head, ...sections, bytes.subarray(hashed));
}

const osRelease = Buffer.from('NAME=Made\nID=made\n');
const commandLine = Buffer.from('root=/dev/vda ro\tquiet\n');
const magic = (version: number) => Buffer.from(`#### LoaderInfo: systemd-stub ${version}.1 ####`);
const kernelSections = { '.text': Buffer.alloc(0x200, 0x90) };
const kernel = namedPe(kernelSections);
const kernelImage = authenticode(kernel, Object.values(kernelSections));
const initrd = Buffer.from('an initrd of 29 bytes in all.');
const unifiedSections = (version: number) => ({
  '.sdmagic': magic(version),
  '.osrel': osRelease,
  '.cmdline': commandLine,
  '.initrd': initrd,
  '.linux': kernel,
});

/** The archive of one file that the stub makes, written out: inode, mode, owner, links, time, size, devices, name. */
const zero = '00000000';
const archive = Buffer.from(
  [
    `07070100000001${'0000416d'}${zero.repeat(2)}00000001${zero}${zero}${zero.repeat(4)}00000007${zero}.extra\0\0\0\0`,
    `07070100000002${'00008124'}${zero.repeat(2)}00000001${zero}00000012${zero.repeat(4)}00000012${zero}.extra/os-release\0`,
    `${osRelease}\0\0`,
    `070701${zero}${zero}${zero.repeat(2)}00000001${zero}${zero}${zero.repeat(4)}0000000B${zero}TRAILER!!!\0\0\0\0`,
  ].join(''),
);

describe('assay reference compute', () => {
  let cwd: string;
  const write = (name: string, bytes: Buffer | string) => writeFileSync(join(cwd, name), bytes);
  const compute = (...args: readonly string[]) =>
    runAssay(['reference', 'compute', '--name', 'r-1', '--group', 'workers', ...args], { cwd });
  const computed = async (...args: readonly string[]): Promise<Reference> => {
    const { code, out, err } = await compute(...args);
    assert.deepEqual([code, err], [0, '']);
    return reference.parse(JSON.parse(out));
  };
  /** Stage, PCR, SHA-256 of each component. */
  const told = ({ components }: Reference) =>
    components.map(({ stage, pcr, digests }) => [stage, pcr ?? null, digests.sha256]);

  before(() => {
    cwd = mkdtempSync(join(tmpdir(), 'assay-compute-'));
    write('vmlinuz', kernel);
    write('signed', signedPe(kernel, true, Buffer.alloc(64, 7)));
    write('initrd.img', initrd);
    write('other', namedPe({ '.text': Buffer.alloc(0x200, 0xcc) }));
    write('ucode.img', Buffer.from('microcode'));
    write('cmdline', 'root=/dev/vda ro\n');
    write('text', 'no image');
    write('cut', kernel.subarray(0, headerBytes + 0x100));
    write('empty', '');
    mkdirSync(join(cwd, 'folder'));
    // A file with a hole takes no room.
    write('huge', '');
    truncateSync(join(cwd, 'huge'), 1024 ** 3 + 1);
  });

  after(() => rmSync(cwd, { recursive: true }));

  it('measures a kernel as its image and as the file that GRUB reads', async () => {
    assert.deepEqual(told(await computed('--kernel', 'vmlinuz')), [
      ['kernel', 9, sha256(kernel)],
      ['kernel', 4, kernelImage],
    ]);
    assert.deepEqual(told(await computed('--kernel', 'vmlinuz', '--no-secure-boot')), [
      ['kernel', 9, sha256(kernel)],
    ]);
    assert.deepEqual(told(await computed('--kernel', 'vmlinuz', '--via', 'systemd-boot')), [
      ['kernel', 4, kernelImage],
    ]);
  });

  it('measures an image without its signatures, and a loader as one', async () => {
    assert.deepEqual(told(await computed('--loader', 'signed', '--loader', 'vmlinuz')), [
      ['loader', 4, kernelImage],
      ['loader', 4, kernelImage],
    ]);
  });

  it('gives every bank that is compared, in the length of that bank', async () => {
    const { components } = await computed('--kernel', 'vmlinuz');
    const { sha256: short, sha384, sha512 } = components[0]?.digests ?? {};
    assert.deepEqual(
      [short, sha384, sha512],
      [hash('sha256', kernel), hash('sha384', kernel), hash('sha512', kernel)],
    );
  });

  it('measures each initrd, and all of them as one, where there are several', async () => {
    const microcode = Buffer.from('microcode');
    assert.deepEqual(told(await computed('--initrd', 'initrd.img')), [['initrd', 9, sha256(initrd)]]);
    assert.deepEqual(told(await computed('--initrd', 'ucode.img', '--initrd', 'initrd.img')), [
      ['initrd', 9, sha256(microcode)],
      ['initrd', 9, sha256(initrd)],
      ['initrd', 9, sha256(microcode, '\0\0\0', initrd)],
    ]);
    const both = ['--initrd', 'ucode.img', '--initrd', 'initrd.img', '--via', 'systemd-boot'];
    assert.deepEqual(told(await computed(...both)), [['initrd', 9, sha256(microcode, initrd)]]);
  });

  it('writes a command line as text, without the image and with identifiers masked', async () => {
    const text = 'BOOT_IMAGE=/vmlinuz root=UUID=12345678-1234-1234-1234-123456789abc ro';
    const { components } = await computed('--cmdline', text);
    assert.deepEqual(
      components.map(({ stage, scope, pcr, text: masked }) => [stage, scope, pcr, masked]),
      [['cmdline', 'rules', undefined, 'root=UUID=<id> ro']],
    );
    const fromFile = await computed('--cmdline-file', 'cmdline');
    assert.equal(fromFile.components[0]?.text, 'root=/dev/vda ro');
  });

  it('covers the command line of a boot, wherever GRUB measured it, beside a captured reference', async () => {
    const at = 0;
    const taken = { name: 'other', group: 'workers', state: 'active', by: 'me', node: 'n', at } as const;
    const other = captureReference(madeProof({ log: recordedLog('debian13-shim-grub-cmdline') }), taken);
    const line = 'ro console=ttyS0 no_timer_check panic=-1 root=/dev/vda ima_policy=tcb init=/opt/vm/init.sh';
    const ordered = line.replace('ro ', '').replace('vda ', 'vda ro ');
    const judged = async (text: string) => {
      const own = await computed('--cmdline', `BOOT_IMAGE=/vmlinuz ${text}`, '--state', 'active');
      const policy = policyOf('require: [identity, boot]');
      const proof = madeProof({ log: recordedLog('debian13-shim-grub') });
      const { state, reasons } = verdictOn(proof, policy, { name: 'n' }, [other, own], at);
      return [state, ...reasons.map(({ code }) => code)];
    };
    assert.deepEqual(await judged(ordered), ['trusted']);
    assert.deepEqual(await judged(line), ['untrusted', 'cmdline_policy']);
    assert.deepEqual(await judged(`${ordered} quiet`), ['untrusted', 'cmdline_policy']);
  });

  it('knows a command line that the firmware hands over by its digest alone', async () => {
    const { components } = await computed('--cmdline', 'root=/dev/vda ro', '--via', 'firmware');
    assert.deepEqual(
      components.map(({ pcr, digests, text }) => [pcr, digests.sha256, text]),
      [[9, sha256(utf16('root=/dev/vda ro\0')), undefined]],
    );
  });

  it('measures a unified image, its sections, and what its kernel gets', async () => {
    const sections = unifiedSections(256);
    const bytes = namedPe(sections);
    write('uki.efi', bytes);
    const found = await computed('--uki', 'uki.efi');
    const wrapper = found.components[0];
    assert.deepEqual([wrapper?.stage, wrapper?.pcr], ['kernel', 4]);
    assert.deepEqual(told(found).slice(1), [
      ['kernel', 11, sha256(kernel)],
      ['os', 11, sha256(osRelease)],
      ['cmdline', 11, sha256(commandLine)],
      ['initrd', 11, sha256(initrd)],
      ['kernel', 4, kernelImage],
      ['cmdline', 9, sha256(utf16('root=/dev/vda ro quiet\0'))],
      ['initrd', 9, sha256(initrd)],
    ]);
  });

  it('says of a unified image what a capture says of a machine that booted one', async () => {
    const taken = { name: 'r', group: 'workers', state: 'active', by: 'me', node: 'n', at: 0 } as const;
    const captured = captureReference(madeProof({ log: recordedLog('debian13-sdboot-uki') }), taken);
    const recorded = captured.components.filter(({ stage, pcr = 0 }) => pcr >= 9 || stage === 'kernel');
    write('debian.efi', namedPe({ ...unifiedSections(257), '.uname': magic(1), '.sbat': magic(2) }));
    const { components } = await computed('--uki', 'debian.efi');
    const shape = (of: Reference['components']) =>
      of
        .map(({ stage, scope, pcr, kind, description }) =>
          [stage, scope, pcr, kind, description.replace(/\d+ bytes/, '')].join(),
        )
        .sort();
    assert.deepEqual(shape(components), shape(recorded));
  });

  it('knows what later stubs do: they pack os-release, and then start the kernel themselves', async () => {
    write('257.efi', namedPe(unifiedSections(257)));
    write('258.efi', namedPe(unifiedSections(258)));
    const of257 = told(await computed('--uki', '257.efi'));
    const of258 = told(await computed('--uki', '258.efi'));
    assert.deepEqual(of257.at(-1), ['initrd', 9, sha256(initrd, '\0\0\0', archive)]);
    assert.ok(of257.some(([, pcr, digest]) => pcr === 4 && digest === kernelImage));
    assert.ok(!of258.some(([, , digest]) => digest === kernelImage));
  });

  it('counts the zeros that a section has in memory only', async () => {
    const bytes = namedPe({ '.sdmagic': magic(256), '.linux': kernel, '.osrel': osRelease });
    const header = 0x80 + 24 + 240 + 2 * 40;
    bytes.writeUInt32LE(osRelease.length + 3, header + 8);
    write('zeros.efi', bytes);
    const found = told(await computed('--uki', 'zeros.efi'));
    assert.ok(found.some(([, pcr, digest]) => pcr === 11 && digest === sha256(osRelease, '\0\0\0')));
    bytes.writeUInt32LE(0xffffffff, header + 8);
    write('bloated.efi', bytes);
    assert.equal((await compute('--uki', 'bloated.efi')).code, 1);
  });

  it('keeps the text of a command line that a reference has room for', async () => {
    const long = Buffer.from('quiet '.repeat(700));
    write('long.efi', namedPe({ ...unifiedSections(257), '.cmdline': long }));
    const { components } = await computed('--uki', 'long.efi');
    const line = components.find(({ description }) => description === '.cmdline');
    assert.deepEqual([line?.digests.sha256, line?.text], [sha256(long), undefined]);
  });

  it('refuses what is no image, and tells file, offset and field', async () => {
    for (const [option, file, field] of [
      ['--kernel', 'text', 'e_magic'],
      ['--loader', 'cut', 'sizeOfRawData'],
      ['--uki', 'vmlinuz', '.linux'],
    ] as const) {
      const { code, out, err } = await compute(option, file);
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, new RegExp(`${file} .*offset \\d+, field ${field}:`));
    }
    for (const file of ['absent', 'empty', 'folder', 'huge']) {
      const { code, err } = await compute('--kernel', file);
      assert.equal(code, 1);
      assert.match(err, new RegExp(file));
    }
  });

  it('refuses a unified image that lets the machine choose, or says a thing twice', async () => {
    write('profiles.efi', namedPe({ ...unifiedSections(257), '.profile': Buffer.from('ID=other') }));
    assert.equal((await compute('--uki', 'profiles.efi')).code, 1);
    const twice = namedPe({ ...unifiedSections(257), '.linuy': kernel });
    twice.write('.linux', twice.indexOf('.linuy'));
    write('twice.efi', twice);
    assert.equal((await compute('--uki', 'twice.efi')).code, 1);
  });

  it('takes no options that contradict each other', async () => {
    const wrong: readonly (readonly string[])[] = [
      [],
      ['--uki', 'uki.efi', '--kernel', 'vmlinuz'],
      ['--cmdline', 'ro', '--cmdline-file', 'cmdline'],
      ['--via', 'firmware', '--initrd', 'initrd.img'],
      ['--kernel', 'vmlinuz', '--via', 'lilo'],
      ['--kernel', 'vmlinuz', '--kernel', 'other'],
      ['--kernel', 'vmlinuz', '--state', 'revoked'],
      ['--kernel', 'vmlinuz', '--name', '../r'],
      ['--kernel', 'vmlinuz', '-o', 'table'],
    ];
    for (const args of wrong) assert.equal((await compute(...args)).code, 2, args.join(' '));
  });

  it('prints a file that other commands read, and compare by its components', async () => {
    const diff = async (a: string, b: string) => {
      const { code, out } = await runAssay(['reference', 'diff', a, b, '-o', 'json'], { cwd });
      assert.equal(code, a === b ? 0 : 10);
      return JSON.parse(out);
    };
    const text = ['--cmdline', 'root=/dev/vda ro'];
    write('r.yaml', (await compute('--kernel', 'vmlinuz', ...text, '-o', 'yaml')).out);
    write('other.json', (await compute('--kernel', 'other', ...text, '--initrd', 'initrd.img')).out);
    assert.deepEqual((await diff('r.yaml', 'r.yaml')).components, []);
    const { components, onlyExpected, onlyActual } = await diff('r.yaml', 'other.json');
    assert.deepEqual(
      components.map(({ stage, pcr, expected }: ComponentDifference) => [stage, pcr, expected !== null]),
      [
        ['kernel', 9, true],
        ['kernel', 4, true],
        ['kernel', 9, false],
        ['kernel', 4, false],
      ],
    );
    assert.deepEqual([onlyExpected, onlyActual], [[], ['initrd']]);
  });
});
