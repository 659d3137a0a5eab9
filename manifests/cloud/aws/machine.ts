/** An instance of EC2. */
export interface AwsMachine {
  readonly region: string;
  readonly instance: string;
}

const pattern = /^aws:\/\/\/([a-z0-9-]{1,64})\/(i-[0-9a-f]{8,17})$/;
/** A zone is named by its region and more: `eu-central-1a`, `us-west-2-lax-1a`. */
const regionPattern = /^[a-z]{2,8}(?:-[a-z]{2,16}){1,2}-[1-9]/;

/** `aws:///ZONE/i-…`; null for any other text. */
export function parseAwsMachine(providerId: string): AwsMachine | null {
  const [, zone = '', instance] = pattern.exec(providerId) ?? [];
  const region = regionPattern.exec(zone)?.[0];
  return region === undefined || instance === undefined ? null : { region, instance };
}

/** Where a service answers in a region: each partition of AWS has a domain of its own. */
export function endpointOf(service: 'ec2' | 'sts', region: string): URL {
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  return new URL(`https://${service}.${region}.${domain}/`);
}
