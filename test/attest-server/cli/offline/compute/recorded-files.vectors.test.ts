import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { asTheLogSays, bootState } from '../../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';

/** Of the files that the recorded machines booted: SHA-256 of the file, and of the image by Authenticode. */
const files = {
  shim: { image: 'f4166948f7adafa71e45c7ca5d30d97f78f382ecf1e3c8e4767b1ec1770cd52f' },
  grub: { image: '4723da70afd558617a87dadf9087ca335822c60e5f2aec0135fcc0122d3b96ff' },
  systemdBoot: { image: '937f1f3b0b3fed2034f1fddcc68c835f3e4ba190143f79693816e5a9d1718da5' },
  kernel117: {
    file: 'ed8f0dbdbefe3994093937f5ee934818ae902b88cb0b6bc423811c10d55b87b0',
    image: 'a20646051d119ba9f5e4f6759d6bb1395157aa7d69bc39fa42e3e5d8cb94c56b',
  },
  kernel118: {
    file: 'fd09ba2d352b222ed9dc5e5446d434b821d5b7eae0ba030cdd078e903a85cfb9',
    image: '7a9f212b48e8c2878cbbca4c0eda886d66c3b978bfd709ec4a5f2149fd334e1f',
  },
  initrd117: { file: '526ef2c559a8586515a8c39f4d2e1f763b547c98568e6622dd0fa5dc65522a58' },
  initrd118: { file: 'f9f1d82367cad3015bacfca48e3462674857e74d6e1cba640d833152efb69214' },
  uki: { image: '527a75a4d49790d697314340601571412f4dcbc4bb04c60c0a7f1eaa3be79d13' },
  ukiOtherLine: { image: '9a721335c76c9891af17dde7d3c45fdb802e7fdb28fd3290a6b65f53a8fce227' },
  ukiSystemd: { image: '1e1ab9c56a527198c2786ac2a4e4890ae2fe6826a623f3532685e5840fd4a385' },
} as const;

type Expected = readonly [stage: string, pcr: number, digest: string];

/** What `reference compute` gives for these files, started by GRUB under Secure Boot. */
const byGrub = (kernel: { file: string; image: string }, initrd: { file: string }): readonly Expected[] => [
  ['loader', 4, files.shim.image],
  ['loader', 4, files.grub.image],
  ['kernel', 9, kernel.file],
  ['kernel', 4, kernel.image],
  ['initrd', 9, initrd.file],
];
/** The same of a unified image: itself, its sections, and the kernel that its stub starts. */
const asOne = (image: string): readonly Expected[] => [
  ['loader', 4, files.systemdBoot.image],
  ['kernel', 4, image],
  ['kernel', 11, files.kernel118.file],
  ['initrd', 11, files.initrd118.file],
  ['kernel', 4, files.kernel118.image],
];

const boots: Readonly<Record<string, readonly Expected[]>> = {
  'debian13-shim-grub': byGrub(files.kernel118, files.initrd118),
  'debian13-shim-grub-cmdline': byGrub(files.kernel118, files.initrd118),
  'debian13-shim-grub-kernel': byGrub(files.kernel117, files.initrd117),
  'debian13-sdboot-entry': [
    ['loader', 4, files.systemdBoot.image],
    ['kernel', 4, files.kernel118.image],
  ],
  'debian13-efistub': [['kernel', 4, files.kernel118.image]],
  'debian13-sdboot-uki': asOne(files.uki.image),
  'debian13-sdboot-uki-cmdline': asOne(files.ukiOtherLine.image),
  'debian13-uki-systemd': asOne(files.ukiSystemd.image),
};

describe('where a computed reference says that files are measured', () => {
  for (const [name, expected] of Object.entries(boots))
    it(`is where ${name} measured its loaders, kernel and initrd, and nothing else is a kernel there`, () => {
      const log = parseEventLog(recordedLog(name));
      const { components } = bootState(log, asTheLogSays(log));
      const measured = new Set(
        components.map(({ stage, pcr, digests }) => `${stage} ${pcr} ${digests.sha256}`),
      );
      const said = expected.map(([stage, pcr, digest]) => `${stage} ${pcr} ${digest}`);
      assert.deepEqual(
        said.filter((one) => !measured.has(one)),
        [],
      );
      const images = components.filter(({ stage, kind }) => stage === 'kernel' && kind === 'code');
      assert.deepEqual(
        images
          .map(({ pcr, digests }) => `kernel ${pcr} ${digests.sha256}`)
          .filter((one) => !said.includes(one)),
        [],
      );
    });
});
