/** A virtual machine of Compute Engine. */
export interface GceMachine {
  readonly project: string;
  readonly zone: string;
  readonly name: string;
}

/** A project may stand below a domain: `example.com:project`. */
const pattern =
  /^gce:\/\/((?:[a-z0-9.-]{1,63}:)?[a-z0-9][a-z0-9-]{0,62})\/([a-z0-9-]{1,63})\/([a-z0-9-]{1,63})$/;

/** `gce://PROJECT/ZONE/NAME`; null for any other text. */
export function parseGceMachine(providerId: string): GceMachine | null {
  const [, project, zone, name] = pattern.exec(providerId) ?? [];
  if (project === undefined || zone === undefined || name === undefined) return null;
  return { project, zone, name };
}
