import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { BootState } from '../../../../attest-server/verify/boot/boot-state.ts';
import {
  asTheLogSays,
  bootState,
  knowingCommandLine,
} from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { append, eventWhere, retyped } from '../../../vectors/log-surgery.ts';

function stateOf(name: string): BootState {
  const log = parseEventLog(recordedLog(name));
  return bootState(log, asTheLogSays(log));
}

const microsoft = 'C=US, ST=Washington, L=Redmond, O=Microsoft Corporation, CN=Microsoft';
const uefiCa = `${microsoft} Corporation UEFI CA 2011`;
const windowsCa = `${microsoft} Windows Production PCA 2011`;
const guest = 'console=ttyS0 no_timer_check panic=-1 root=/dev/vda ro ima_policy=tcb init=/opt/vm/init.sh';

/** What the machine said of itself when the log was recorded, or what other readers of its log say. */
const boots: Readonly<Record<string, object>> = {
  'debian13-shim-grub': {
    enabled: true,
    authorities: [`db: ${uefiCa}`, 'MokListRT: CN=Debian Secure Boot CA'],
    machineOwner: ['MokList vendor', 'MokListX unknown', 'MokListTrusted on'],
    sbatLevel: 2025021800,
    commandLines: [guest],
    firmwareVersion: '2025.02-8+deb13u1',
  },
  'debian13-shim-grub-cmdline': {
    enabled: true,
    authorities: [`db: ${uefiCa}`, 'MokListRT: CN=Debian Secure Boot CA'],
    machineOwner: ['MokList vendor', 'MokListX unknown', 'MokListTrusted on'],
    sbatLevel: 2025021800,
    commandLines: [`${guest} systemd.debug-shell=1 lockdown=none`],
    firmwareVersion: '2025.02-8+deb13u1',
  },
  'debian13-sdboot-uki': {
    enabled: false,
    authorities: [],
    machineOwner: [],
    sbatLevel: null,
    commandLines: [],
    firmwareVersion: '2025.02-8+deb13u1',
  },
  'debian10-shim-grub': {
    enabled: true,
    authorities: [
      'db: CN=James Bottomley UEFI Application Key',
      'Shim: CN=Debian Secure Boot CA',
      'MokList: CN=James Bottomley Secure Boot MoK Key',
    ],
    machineOwner: ['MokList listed', 'MokListX listed'],
    sbatLevel: null,
    commandLines: ['root=UUID=d4b018ac-5304-4aac-b870-4060a39e2af1 ro quiet'],
    firmwareVersion: 'SDV.RP.B11.04 Release Build',
  },
  'windows-fewer-digests': {
    enabled: true,
    authorities: [`db: ${windowsCa}`],
    machineOwner: [],
    sbatLevel: null,
    commandLines: [],
    firmwareVersion: 'N1UET78W',
  },
  'sha1-tpm12': {
    enabled: false,
    authorities: [],
    machineOwner: [],
    sbatLevel: null,
    commandLines: [],
    firmwareVersion: 'V27.01.07',
  },
};

describe('the state of a recorded boot', () => {
  for (const [name, expected] of Object.entries(boots))
    it(`is what ${name} was`, () => {
      const { secureBoot, commandLines, firmwareVersion } = stateOf(name);
      assert.deepEqual(
        {
          enabled: secureBoot.enabled,
          authorities: secureBoot.authorities.map(({ source, subject }) => `${source}: ${subject}`),
          machineOwner: secureBoot.machineOwner.map((variable) => `${variable.name} ${variable.content}`),
          sbatLevel: secureBoot.sbatLevel,
          commandLines: commandLines.map(({ text }) => text),
          firmwareVersion: firmwareVersion?.text ?? null,
        },
        expected,
      );
    });

  it('names the keys that Secure Boot was configured with, by the fingerprints of their certificates', () => {
    const { databases } = stateOf('debian13-shim-grub').secureBoot;
    assert.deepEqual(
      databases.map(({ name, entries }) => [name, entries.map(({ kind, digest }) => [kind, digest])]),
      [
        ['PK', [['certificate', '5fb05ed84c5170d542ed6a7b7487dd57b8faedb02f7e107b0409e1d22cac4169']]],
        [
          'KEK',
          [
            ['certificate', '5fb05ed84c5170d542ed6a7b7487dd57b8faedb02f7e107b0409e1d22cac4169'],
            ['certificate', 'a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503'],
          ],
        ],
        [
          'db',
          [
            ['certificate', 'e8e95f0733a55e8bad7be0a1413ee23c51fcea64b3c8fa6a786935fddcc71961'],
            ['certificate', '48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507'],
          ],
        ],
        ['dbx', [['digest', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']]],
      ],
    );
  });

  it('has the digests of loaders, kernel and initrd that the files had', () => {
    const digests = stateOf('debian13-shim-grub').components.map(
      ({ stage, kind, digests }) => `${stage} ${kind} ${digests.sha256}`,
    );
    const files: readonly (readonly [string, string])[] = [
      ['loader code', 'f4166948f7adafa71e45c7ca5d30d97f78f382ecf1e3c8e4767b1ec1770cd52f'],
      ['loader code', '4723da70afd558617a87dadf9087ca335822c60e5f2aec0135fcc0122d3b96ff'],
      ['loader configuration', '664ba3a07bd63359e1e684d70ab656daba529a8d19ee26d3d7b6ec23694f8dbf'],
      ['kernel code', '7a9f212b48e8c2878cbbca4c0eda886d66c3b978bfd709ec4a5f2149fd334e1f'],
      ['kernel file', 'fd09ba2d352b222ed9dc5e5446d434b821d5b7eae0ba030cdd078e903a85cfb9'],
      ['initrd file', 'f9f1d82367cad3015bacfca48e3462674857e74d6e1cba640d833152efb69214'],
    ];
    for (const [what, digest] of files) assert.ok(digests.includes(`${what} ${digest}`), what);
  });

  it('has the digests of each section of a unified image, and tells the sections’ names from them', () => {
    const sections = stateOf('debian13-sdboot-uki').components.filter(({ pcr }) => pcr === 11);
    assert.deepEqual(
      sections.map(({ kind, stage }) => `${stage} ${kind}`),
      ['kernel', 'os', 'cmdline', 'initrd', 'os', 'os'].flatMap((stage) => [
        `${stage} marker`,
        `${stage} file`,
      ]),
    );
  });

  it('knows the load options that the kernel measured to be GRUB’s line', () => {
    const options = stateOf('debian13-shim-grub').components.find(({ type }) => type === 'EV_EVENT_TAG');
    assert.equal(options?.text, `BOOT_IMAGE=/vmlinuz ${guest}`);
  });

  it('knows the command line of a unified image where the node says it, and no other that it says', () => {
    const state = stateOf('debian13-sdboot-uki');
    const knowing = knowingCommandLine(state, guest);
    assert.deepEqual(
      knowing.commandLines.map(({ text }) => text),
      [guest],
    );
    assert.ok(knowing.components.some((one) => one.pcr === 9 && one.text === guest));
    assert.equal(knowingCommandLine(state, guest), knowing);
    for (const other of [`${guest} quiet`, '', '.linux', 'init=/bin/sh'])
      assert.deepEqual(knowingCommandLine(state, other).commandLines, []);
  });

  it('needs nobody to say a command line that a loader wrote', () => {
    const state = stateOf('debian13-shim-grub');
    assert.equal(knowingCommandLine(state, `BOOT_IMAGE=/vmlinuz ${guest}`), state);
    assert.equal(knowingCommandLine(state, 'init=/bin/sh'), state);
  });

  it('holds what was measured alone: digests of banks that vouch, texts that their digest proves', () => {
    const log = parseEventLog(recordedLog('debian13-shim-grub'));
    const { components } = bootState(log, { banks: ['sha256'], pcrs: 1 << 8 });
    assert.ok(components.length > 0);
    for (const { pcr, digests, text } of components) {
      assert.equal(pcr, 8);
      assert.deepEqual(Object.keys(digests), ['sha256']);
      assert.notEqual(text, null);
    }
  });

  it('has no version of the firmware that the system extended behind the separator (row 222)', () => {
    const log = recordedLog('debian13-shim-grub');
    const data = Buffer.from('9.9\0', 'utf16le');
    const more = append(log, { pcr: 0, type: 8, data });
    const version = (from: Buffer) => {
      const parsed = parseEventLog(from);
      return bootState(parsed, asTheLogSays(parsed)).firmwareVersion?.text ?? null;
    };
    assert.equal(version(more), '2025.02-8+deb13u1');
    const { index } = eventWhere(log, ({ type }) => type === 'EV_S_CRTM_VERSION');
    assert.equal(version(retyped(more, index, 7)), null);
  });

  it('shows no problem of a log that a machine wrote', () => {
    for (const name of [
      ...Object.keys(boots),
      'debian13-shim-grub-kernel',
      'debian13-sdboot-uki-cmdline',
      'debian11-shim-grub',
      'centos9-shim-grub',
      'rhel8-shim-grub',
      'fedora41-locality-3',
      'tdx-ccel',
      'short-no-action',
    ])
      assert.deepEqual(stateOf(name).problems, [], name);
  });
});
