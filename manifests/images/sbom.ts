import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCopyright } from './debian-licence.ts';
import type { NodeProgram } from './node-program.ts';
import type { RootFileSystem } from './root-file-system.ts';

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
  const { image, version, architecture, digest, epoch, content } = described;
  const others: Record<string, string> = {};
  const root = 'SPDXRef-image';
  const parts = [
    ...debianPackages(described, others),
    ...npmPackages(described),
    ...(content.node === null ? [] : [nodePackage(content.node)]),
  ];
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `${image}-${version}-${architecture}`,
    documentNamespace: `https://assay.dev/sbom/${image}/${digest.replace(':', '-')}`,
    creationInfo: {
      created: new Date(epoch * 1000).toISOString().replace('.000', ''),
      creators: [`Tool: assay-images-${version}`],
    },
    documentDescribes: [root],
    packages: [
      {
        SPDXID: root,
        name: image,
        versionInfo: version,
        primaryPackagePurpose: 'CONTAINER',
        licenseDeclared: 'Apache-2.0',
        checksums: [{ algorithm: 'SHA256', checksumValue: digest.replace('sha256:', '') }],
        externalRefs: [purl(`pkg:oci/${image}@${encodeURIComponent(digest)}?arch=${architecture}`)],
        ...unsaid,
      },
      ...parts,
    ],
    relationships: [
      { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: root },
      ...parts.map(({ SPDXID }) => ({
        spdxElementId: root,
        relationshipType: 'CONTAINS',
        relatedSpdxElement: SPDXID,
      })),
    ],
    hasExtractedLicensingInfos: Object.entries(others)
      .sort()
      .map(([licenseId, extractedText]) => ({
        licenseId,
        name: licenseId.replace('LicenseRef-Debian-', ''),
        extractedText,
      })),
  };
}

/** What SPDX asks for, and nobody has looked into. */
const unsaid = {
  downloadLocation: 'NOASSERTION',
  filesAnalyzed: false,
  licenseConcluded: 'NOASSERTION',
  copyrightText: 'NOASSERTION',
} as const;

interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly supplier?: string;
  readonly licenseDeclared: string;
  readonly licenseComments?: string;
  readonly externalRefs: readonly Readonly<Record<string, string>>[];
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

function npmPackages({ content, integrity }: Described): readonly SpdxPackage[] {
  return content.npm.map(({ path, name, version, licence }) => ({
    SPDXID: idOf('npm', path.replace(/^node_modules\//, '')),
    name,
    versionInfo: version,
    licenseDeclared: licence,
    ...checksumOf(integrity.get(path)),
    externalRefs: [purl(`pkg:npm/${name.replace('@', '%40')}@${version}`)],
    ...unsaid,
  }));
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

function purl(referenceLocator: string) {
  return { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator };
}

function idOf(kind: string, name: string): string {
  return `SPDXRef-${kind}-${name.replace(/[^A-Za-z0-9.]+/g, '-').replace(/^-/, '')}`;
}

function checksumOf(integrity: string | undefined) {
  if (!integrity?.startsWith('sha512-')) return {};
  const checksumValue = Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex');
  return { checksums: [{ algorithm: 'SHA512', checksumValue }] };
}
