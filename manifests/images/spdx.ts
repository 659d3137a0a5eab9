import type { BundledPackage } from '../../swtpm-fixtures/set-up/bundle.ts';

/** What is described, or a package that it contains. */
export interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly supplier?: string;
  readonly licenseDeclared: string;
  readonly licenseComments?: string;
  readonly externalRefs: readonly Readonly<Record<string, string>>[];
}

interface SpdxContent {
  readonly name: string;
  /** Of this document alone, below the address of all our documents. */
  readonly namespace: string;
  readonly tool: string;
  /** Seconds since 1970 at which it is made: of the commit, so that the same build gives the same document. */
  readonly epoch: number;
  readonly subject: SpdxPackage;
  readonly parts: readonly SpdxPackage[];
  /** Texts of licences that SPDX has no word for. */
  readonly others: Readonly<Record<string, string>>;
}

/** A document of SPDX 2.3 in JSON: a subject that contains parts. */
export function spdxDocument({ name, namespace, tool, epoch, subject, parts, others }: SpdxContent): unknown {
  const relationship = (spdxElementId: string, relationshipType: string, relatedSpdxElement: string) => ({
    spdxElementId,
    relationshipType,
    relatedSpdxElement,
  });
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name,
    documentNamespace: `https://assay.dev/sbom/${namespace}`,
    creationInfo: {
      created: new Date(epoch * 1000).toISOString().replace('.000', ''),
      creators: [`Tool: ${tool}`],
    },
    documentDescribes: [subject.SPDXID],
    packages: [subject, ...parts],
    relationships: [
      relationship('SPDXRef-DOCUMENT', 'DESCRIBES', subject.SPDXID),
      ...parts.map(({ SPDXID }) => relationship(subject.SPDXID, 'CONTAINS', SPDXID)),
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
export const unsaid = {
  downloadLocation: 'NOASSERTION',
  filesAnalyzed: false,
  licenseConcluded: 'NOASSERTION',
  copyrightText: 'NOASSERTION',
} as const;

/** @param integrity of packages of npm by their paths, as package-lock.json has it */
export function npmPackage(
  { path, name, version, licence }: BundledPackage,
  integrity: ReadonlyMap<string, string>,
): SpdxPackage {
  return {
    SPDXID: idOf('npm', path.replace(/^node_modules\//, '')),
    name,
    versionInfo: version,
    licenseDeclared: licence,
    ...checksumOf(integrity.get(path)),
    externalRefs: [purl(`pkg:npm/${name.replace('@', '%40')}@${version}`)],
    ...unsaid,
  };
}

export function purl(referenceLocator: string) {
  return { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator };
}

export function idOf(kind: string, name: string): string {
  return `SPDXRef-${kind}-${name.replace(/[^A-Za-z0-9.]+/g, '-').replace(/^-/, '')}`;
}

export function checksumOf(integrity: string | undefined) {
  if (!integrity?.startsWith('sha512-')) return {};
  const checksumValue = Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex');
  return { checksums: [{ algorithm: 'SHA512', checksumValue }] };
}
