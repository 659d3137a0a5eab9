/** Names of the files of a declared directory that are no reference. */
export const declaredFiles = {
  manifest: 'manifest',
  /** `ssh-keygen -Y sign` and `minisign -S` name them so. */
  sshSignature: 'manifest.sig',
  minisignSignature: 'manifest.minisig',
  policy: 'policy.yaml',
  pins: 'pins.csv',
} as const;

/** The purpose of a manifest's SSH signature: one that the same key made for Git or for mail is refused. */
export const declaredNamespace = 'declared@assay.dev';

/** Bytes of each file, and how many files a directory may have. */
export const declaredBounds = {
  manifest: 256 * 1024,
  signature: 16 * 1024,
  policy: 1024 * 1024,
  pins: 8 * 1024 * 1024,
  files: 1024,
  /** Folders and files that are looked through for those that nobody signed. */
  entries: 16_384,
} as const;

/** Why a directory does not count, and what was in force stays. */
export const declaredFaults = {
  unreadable: 'a file is missing, is not a file, or may not be read',
  too_large: 'a file, or all together, is larger than a server takes',
  unsigned: 'there is no signature, or a file that the manifest does not name',
  sig_invalid: 'the signature is not by a key of the settings, or belongs to another manifest',
  serial: 'the manifest is older than the one in force, or another one of its serial',
  changed: 'a file is not the one that was signed',
  malformed: 'manifest, reference, list of pins or policy have a fault',
  policy: 'the policy asks for less than the latch requires',
  pins: 'a key is bound to another node',
} as const satisfies Readonly<Record<string, string>>;
export type DeclaredFault = keyof typeof declaredFaults;

/** Who says so in the audit log, and of references and pins: the key by its name. */
export const declaredActor = (key: string): string => `declared:${key}`;

export function isDeclaredActor(actor: string | null): boolean {
  return actor?.startsWith(declaredActor('')) ?? false;
}

/** How a reference that a signed directory declares comes into force: no command here does that. */
export function declareActive(reference: string, directory: string): string {
  return `Reference ${reference} is declared in ${directory}: let its file say "state": "active", write the manifest again (assay declare), and sign it.`;
}
