import type { BundledPackage } from '../../swtpm-fixtures/set-up/bundle.ts';
import { npmPackage, purl, spdxDocument, unsaid } from '../images/spdx.ts';

interface PackedFile {
  readonly version: string;
  /** Of the file, in hex. */
  readonly sha256: string;
  /** Seconds since 1970. */
  readonly epoch: number;
  /** By the program that has them. */
  readonly bundled: Readonly<Record<string, readonly BundledPackage[]>>;
  readonly integrity: ReadonlyMap<string, string>;
}

/** What `assay-VERSION.tgz` holds, as a document of SPDX 2.3 in JSON. The Node.js that npm adds is not in that file. */
export function packageSbom({ version, sha256, epoch, bundled, integrity }: PackedFile): unknown {
  const byPath = new Map(Object.values(bundled).flatMap((all) => all.map((one) => [one.path, one] as const)));
  const subject = {
    SPDXID: 'SPDXRef-package',
    name: 'assay',
    versionInfo: version,
    packageFileName: `assay-${version}.tgz`,
    primaryPackagePurpose: 'ARCHIVE',
    licenseDeclared: 'Apache-2.0',
    checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
    externalRefs: [purl(`pkg:generic/assay@${version}?checksum=sha256:${sha256}`)],
    ...unsaid,
  };
  return spdxDocument({
    name: `assay-${version}`,
    namespace: `assay/sha256-${sha256}`,
    tool: `assay-pack-${version}`,
    epoch,
    subject,
    parts: [...byPath.values()]
      .sort((a, b) => (a.path < b.path ? -1 : 1))
      .map((one) => npmPackage(one, integrity)),
    others: {},
  });
}
