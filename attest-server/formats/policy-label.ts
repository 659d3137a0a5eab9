/** How people and verdicts name a policy: `name@revision`. */
export function policyLabel({
  name,
  revision,
}: {
  readonly name: string;
  readonly revision: string;
}): string {
  return `${name}@${revision}`;
}

/** The revision of a policy whose text has this SHA-256, in hex. */
export function revisionOf(digest: string): string {
  return digest.slice(0, 12);
}
