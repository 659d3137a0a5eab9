import { stringify } from 'yaml';

interface PublishedFile {
  readonly version: string;
  readonly description: string;
  /** Where it will be fetched from. */
  readonly uri: string;
  readonly sha256: string;
}

/** The manifest by which krew installs `kubectl assay` from assay-VERSION.tgz: https://krew.sigs.k8s.io/docs/developer-guide/ */
export function krewManifest({ version, description, uri, sha256 }: PublishedFile): string {
  return stringify({
    apiVersion: 'krew.googlecontainertools.github.com/v1alpha2',
    kind: 'Plugin',
    metadata: { name: 'assay' },
    spec: {
      version: `v${version}`,
      shortDescription: 'Show what nodes have proven that they booted',
      description,
      caveats: 'Node.js 24 or newer must be on the PATH: the plugin brings none.',
      platforms: [
        {
          selector: { matchLabels: { os: 'linux' } },
          uri,
          sha256,
          files: [{ from: 'package/*', to: '.' }],
          bin: 'bin/kubectl-assay',
        },
      ],
    },
  });
}

/** An address of https, from which krew may fetch. @throws Error */
export function addressIn(text: string): string {
  const { protocol, username, hash, href } = new URL(text);
  if (protocol !== 'https:' || username !== '' || hash !== '')
    throw new Error(`${text} is no address of https`);
  return href;
}
