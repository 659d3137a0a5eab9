import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCopyright } from './debian-licence.ts';
import type { NodeProgram } from './node-program.ts';
import type { RootFileSystem } from './root-file-system.ts';
import { checksumOf, idOf, npmPackage, purl, type SpdxPackage, spdxDocument, unsaid } from './spdx.ts';

export interface Described {
  readonly image: string;
  readonly version: string;
  readonly architecture: string;
  /** Of the image's manifest, `sha256:…`. */
  readonly digest: string;
  /** Seconds since 1970: of the commit, so that the same build gives the same document. */
  readonly epoch: number;
  readonly content: RootFileSystem;
  readonly integrity: ReadonlyMap<string, string>;
}

/** What an image holds, as a document of SPDX 2.3 in JSON. */
export function sbomOf(described: Described): unknown {
  const { image, version, architecture, digest, epoch, content, integrity } = described;
  const others: Record<string, string> = {};
  const parts = [
    ...debianPackages(described, others),
    ...content.npm.map((one) => npmPackage(one, integrity)),
    ...(content.node === null ? [] : [nodePackage(content.node)]),
  ];
  const subject = {
    SPDXID: 'SPDXRef-image',
    name: image,
    versionInfo: version,
    primaryPackagePurpose: 'CONTAINER',
    licenseDeclared: 'Apache-2.0',
    checksums: [{ algorithm: 'SHA256', checksumValue: digest.replace('sha256:', '') }],
    externalRefs: [purl(`pkg:oci/${image}@${encodeURIComponent(digest)}?arch=${architecture}`)],
    ...unsaid,
  };
  return spdxDocument({
    name: `${image}-${version}-${architecture}`,
    namespace: `${image}/${digest.replace(':', '-')}`,
    tool: `assay-images-${version}`,
    epoch,
    subject,
    parts,
    others,
  });
}

/** Those of which a file is in the image; the licence is that of the whole source package. */
function debianPackages({ content }: Described, others: Record<string, string>): readonly SpdxPackage[] {
  const release = /^VERSION_ID="?(\d+)"?$/m.exec(
    readFileSync(join(content.folder, 'usr/lib/os-release'), 'utf8'),
  )?.[1];
  if (release === undefined) throw new Error('usr/lib/os-release of base-files names no VERSION_ID');
  return content.debian.map(({ name, version, architecture, source, sha256 }) => {
    const copyright = readFileSync(join(content.folder, 'usr/share/doc', name, 'copyright'), 'utf8');
    const licence = parseCopyright(copyright, source.name);
    Object.assign(others, licence.others);
    const upstream = encodeURIComponent(`${source.name}@${source.version}`);
    return {
      SPDXID: idOf('deb', name),
      name,
      versionInfo: version,
      supplier: 'Organization: Debian',
      sourceInfo: `built from ${source.name} ${source.version}`,
      licenseDeclared: licence.expression,
      licenseComments: `usr/share/doc/${name}/copyright in the image`,
      checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
      externalRefs: [
        purl(
          `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-${release}&upstream=${upstream}`,
        ),
      ],
      ...unsaid,
    };
  });
}

/** Under the name of Node.js itself, too: its advisories name no package of npm. */
function nodePackage({ name, version, integrity }: NodeProgram): SpdxPackage {
  return {
    SPDXID: idOf('npm', name),
    name: 'node',
    versionInfo: version,
    supplier: 'Organization: OpenJS Foundation',
    licenseComments: 'usr/share/doc/node/LICENSE in the image',
    licenseDeclared: 'MIT',
    ...checksumOf(integrity),
    externalRefs: [
      purl(`pkg:npm/${name}@${version}`),
      {
        referenceCategory: 'SECURITY',
        referenceType: 'cpe23Type',
        referenceLocator: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
      },
    ],
    ...unsaid,
  };
}
