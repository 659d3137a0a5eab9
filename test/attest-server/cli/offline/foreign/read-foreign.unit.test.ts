import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { CliError } from '../../../../../attest-server/cli/exit.ts';
import { readForeign } from '../../../../../attest-server/cli/offline/foreign/read-foreign.ts';
import type { Reference } from '../../../../../attest-server/formats/reference.ts';
import { parseEventLog } from '../../../../../attest-server/verify/tpm/event-log.ts';
import { tamper } from '../../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { madeProof, policyOf, verdictOn } from '../../../policy/made-proof.ts';

const asked = { name: 'came-over', group: 'workers' };
const at = Date.parse('2026-11-27T12:00:00Z');
const policy = policyOf('require: [identity, boot]');
const codesOf = (log: Buffer, references: readonly Reference[]) => {
  const active = references.map((one) => ({ ...one, state: 'active' as const }));
  const { state, reasons } = verdictOn(madeProof({ log }), policy, { name: 'n' }, active, at);
  return [state, ...new Set(reasons.map(({ code }) => code))];
};

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'assay-foreign-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
function write(name: string, value: unknown): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(value));
  return path;
}
const refused = (paths: readonly string[]) =>
  assert.throws(
    () => readForeign(paths, asked),
    (error) => error instanceof CliError,
  );

describe('component files of systemd-pcrlock', () => {
  const log = recordedLog('debian13-sdboot-uki');
  const { events } = parseEventLog(log);
  /** Those that match, as `systemd-pcrlock lock-…` writes them: a record for each event, in their order. */
  const recordsOf = (wanted: (event: (typeof events)[number]) => boolean) => ({
    records: events
      .filter((event) => event.type !== 'EV_NO_ACTION' && wanted(event))
      .map(({ pcr, digests }) => ({
        pcr,
        digests: Object.entries(digests).map(([hashAlg, digest]) => ({ hashAlg, digest })),
      })),
  });
  const isSeparator = ({ type }: { type: string }) => type === 'EV_SEPARATOR';
  const isOf =
    (pcr: number, ...describes: readonly string[]) =>
    (event: (typeof events)[number]) =>
      event.pcr === pcr &&
      !isSeparator(event) &&
      (describes.length === 0 || describes.some((one) => event.describes.includes(one)));
  const components = () => {
    write('240-secureboot-policy.pcrlock', recordsOf(isOf(7)));
    write('250-firmware-code-early.pcrlock', recordsOf(isOf(0)));
    write('250-firmware-config-early.pcrlock', recordsOf(isOf(1)));
    write('350-action-efi-boot.pcrlock', recordsOf(isOf(4, 'Calling EFI')));
    write('500-separator.pcrlock', recordsOf(isSeparator));
    write('630-boot-loader-code.pcrlock.d/systemd-boot.pcrlock', recordsOf(isOf(4, 'BOOTX64')));
    const uki = recordsOf((event) => isOf(4, 'debian.efi', 'image in memory')(event) || event.pcr === 11);
    write('650-uki.pcrlock.d/debian.pcrlock', uki);
    write('710-kernel-cmdline.pcrlock', recordsOf(isOf(9, 'LoadOptions')));
    write('720-kernel-initrd.pcrlock', recordsOf(isOf(9, 'initrd')));
  };

  it('are, together, a reference by which the boot that they predict is trusted, and a changed one is not', () => {
    components();
    const { references, notes } = readForeign([folder], asked) ?? assert.fail();
    assert.deepEqual(
      references.map(({ name, group, state }) => [name, group, state]),
      [['came-over', 'workers', 'staged']],
    );
    assert.deepEqual(codesOf(log, references), ['trusted']);
    const [state, ...codes] = codesOf(tamper(log, 'kernel'), references);
    assert.equal(state, 'untrusted');
    assert.ok(codes.includes('kernel_unknown'), codes.join());
    // Each file of which something is left out says so.
    for (const file of ['250-firmware-config-early', '350-action-efi-boot', '500-separator', '650-uki'])
      assert.ok(
        notes.some((note) => note.startsWith(`${file}: `)),
        file,
      );
  });

  it('of a unified image, as lock-uki writes them, say what is missing: what it measures once it runs', () => {
    components();
    const uki = recordsOf((event) => isOf(4, 'debian.efi')(event) || event.pcr === 11);
    write('650-uki.pcrlock.d/debian.pcrlock', uki);
    rmSync(join(folder, '710-kernel-cmdline.pcrlock'));
    rmSync(join(folder, '720-kernel-initrd.pcrlock'));
    const { references, notes } = readForeign([folder], asked) ?? assert.fail();
    assert.notEqual(codesOf(log, references)[0], 'trusted');
    assert.ok(notes.some((note) => /^650-uki: .*reference compute --uki/.test(note)));
  });

  it('that are alternatives of each other are refused together, and taken one by one', () => {
    components();
    const other = write('650-uki.pcrlock.d/other.pcrlock', {
      records: [{ pcr: 4, digests: [{ hashAlg: 'sha256', digest: 'ab'.repeat(32) }] }],
    });
    refused([folder]);
    const [one] = readForeign([other], asked)?.references ?? [];
    assert.deepEqual(one?.components, [
      {
        stage: 'kernel',
        scope: 'group',
        pcr: 4,
        digests: { sha256: 'ab'.repeat(32) },
        description: '650-uki (PCR 4)',
      },
    ]);
  });

  for (const [what, value] of [
    ['no records', {}],
    [
      'a PCR that there is not',
      { records: [{ pcr: 24, digests: [{ hashAlg: 'sha256', digest: 'ab'.repeat(32) }] }] },
    ],
    [
      'a digest of another length',
      { records: [{ pcr: 4, digests: [{ hashAlg: 'sha256', digest: 'ab'.repeat(20) }] }] },
    ],
    ['SHA-1 alone', { records: [{ pcr: 4, digests: [{ hashAlg: 'sha1', digest: 'ab'.repeat(20) }] }] }],
    [
      'two digests of one algorithm',
      {
        records: [
          {
            pcr: 4,
            digests: ['ab', 'cd'].map((digits) => ({ hashAlg: 'sha256', digest: digits.repeat(32) })),
          },
        ],
      },
    ],
    [
      'nothing that is compared',
      { records: [{ pcr: 5, digests: [{ hashAlg: 'sha256', digest: 'ab'.repeat(32) }] }] },
    ],
  ] as const)
    it(`with ${what} are refused`, () => refused([write('650-uki.pcrlock', value)]));
});

describe('a measured boot reference state of Keylime', () => {
  const log = recordedLog('debian13-shim-grub');
  const { events } = parseEventLog(log);
  const sha256 = (event: (typeof events)[number] | undefined) => ({ sha256: `0x${event?.digests.sha256}` });
  const images = events.filter(({ type }) => type === 'EV_EFI_BOOT_SERVICES_APPLICATION').map(sha256);
  const keys = [{ SignatureOwner: '605dab50-e046-4300-abb6-3dd810dd8b23', SignatureData: '0x3082' }];
  const state = {
    scrtm_and_bios: [
      {
        scrtm: sha256(events.find(({ type }) => type === 'EV_S_CRTM_VERSION')),
        platform_firmware: events
          .filter(({ type }) => type.startsWith('EV_EFI_PLATFORM_FIRMWARE_BLOB'))
          .map(sha256),
      },
    ],
    pk: keys,
    kek: keys,
    db: keys,
    dbx: keys,
    vendor_db: [],
    mokdig: [],
    mokxdig: [],
    kernels: [
      {
        shim_authcode_sha256: images[0]?.sha256,
        grub_authcode_sha256: images[1]?.sha256,
        kernel_authcode_sha256: images[2]?.sha256,
        initrd_plain_sha256: sha256(events.find(({ pcr, stage }) => pcr === 9 && stage === 'initrd')).sha256,
        kernel_cmdline: 'BOOT_IMAGE=/vmlinuz root=/dev/vda ro quiet\\ splash',
      },
    ],
  };

  it('becomes a reference of each firmware and of each kernel; what Keylime does not say stays unknown', () => {
    const { references, notes } = readForeign([write('mb_refstate.json', state)], asked) ?? assert.fail();
    assert.deepEqual(
      references.map(({ name, components }) => [name, components.map(({ stage, pcr }) => `${stage} ${pcr}`)]),
      [
        ['came-over', ['firmware 0', 'firmware 0', 'firmware 0']],
        ['came-over-2', ['loader 4', 'loader 4', 'kernel 4', 'initrd 9', 'cmdline undefined']],
      ],
    );
    assert.equal(references[1]?.components.at(-1)?.text, 'BOOT_IMAGE=/vmlinuz root=/dev/vda ro quiet splash');
    const [verdict, ...codes] = codesOf(log, references);
    assert.equal(verdict, 'untrusted');
    // Firmware and initrd are known by it.
    assert.ok(!codes.includes('firmware_unknown') && !codes.includes('initrd_unknown'), codes.join());
    assert.ok(codes.includes('kernel_unknown'), codes.join());
    for (const member of [
      'scrtm_and_bios',
      'kernels',
      'pk',
      'kek',
      'db',
      'dbx',
      'vendor_db',
      'mokdig',
      'mokxdig',
    ])
      assert.ok(
        notes.some((note) => note.startsWith(`${member}: `)),
        member,
      );
  });

  it('with a pattern in the place of a command line says so, and takes none', () => {
    const kernels = [{ ...state.kernels[0], kernel_cmdline: 'BOOT_IMAGE=.* ro' }];
    const { references, notes } =
      readForeign([write('mb_refstate.json', { ...state, kernels })], asked) ?? assert.fail();
    assert.ok(!references[1]?.components.some(({ stage }) => stage === 'cmdline'));
    assert.ok(notes.some((note) => note.startsWith('kernels.0.kernel_cmdline: ')));
  });

  it('has a command line also where that ends as GRUB measures it', () => {
    const kernels = [{ ...state.kernels[0], kernel_cmdline: 'BOOT_IMAGE=/vmlinuz\\ ro\\ quiet\0' }];
    const { references } =
      readForeign([write('mb_refstate.json', { ...state, kernels })], asked) ?? assert.fail();
    assert.equal(references[1]?.components.at(-1)?.text, 'BOOT_IMAGE=/vmlinuz ro quiet');
  });

  it('with a member that nobody knows says so', () => {
    const { notes } = readForeign([write('mb_refstate.json', { ...state, more: 1 })], asked) ?? assert.fail();
    assert.ok(notes.includes('more: is not known here'));
  });

  it('with what is no digest is refused, and without a name for the reference', () => {
    refused([write('mb_refstate.json', { ...state, kernels: [{ shim_authcode_sha256: '0x12' }] })]);
    assert.throws(
      () => readForeign([write('mb_refstate.json', state)], {}),
      (error) => error instanceof CliError && error.exitCode === 2,
    );
  });

  it('is no file of ours, which is read as before', () => {
    assert.equal(readForeign([write('ours.json', { version: 1 })], {}), null);
  });
});
