import { CloudFault, type Lookup } from '../lookup.ts';
import { cloudProgram, runLookup, urlIn } from '../program.ts';
import { type CredentialSources, instanceMetadata, readCredentials } from './credentials.ts';
import { endpointOf, parseAwsMachine } from './machine.ts';
import { readTpmEkPub } from './tpm-ek-pub.ts';

interface Flags {
  readonly ec2?: URL;
  readonly sts?: URL;
  readonly metadata: URL;
}

const program = cloudProgram(
  'assay-cloud-aws',
  'Prints the endorsement key of an Amazon EC2 instance’s NitroTPM. It finds credentials as the AWS SDKs do: AWS_ACCESS_KEY_ID, AWS_ROLE_ARN (IRSA), AWS_CONTAINER_CREDENTIALS_FULL_URI (Pod Identity), the instance.',
)
  .option('--ec2 <url>', 'the EC2 API; default: that of the region of the machine', urlIn)
  .option('--sts <url>', 'the STS API; default: that of AWS_REGION, or of the region of the machine', urlIn)
  .option('--metadata <url>', 'the metadata service of the instance', urlIn, instanceMetadata);

program.parse();
await runLookup(program, lookUp);

async function lookUp(providerId: string, signal: AbortSignal): Promise<Lookup> {
  const machine = parseAwsMachine(providerId);
  if (machine === null) return { notKnown: 'not an instance of EC2: aws:///ZONE/i-…' };
  const { ec2, sts, metadata } = program.opts<Flags>();
  const own = process.env.AWS_REGION;
  if (own !== undefined && !/^[a-z0-9-]{1,32}$/.test(own)) throw new CloudFault('AWS_REGION names no region');
  const sources: CredentialSources = {
    keys: keys(),
    webIdentity: pair('AWS_ROLE_ARN', 'AWS_WEB_IDENTITY_TOKEN_FILE', (role, tokenFile) => ({
      role,
      tokenFile,
    })),
    container: pair(
      'AWS_CONTAINER_CREDENTIALS_FULL_URI',
      'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
      (url, tokenFile) => ({ url: urlIn(url), tokenFile }),
    ),
    sts: sts ?? endpointOf('sts', own ?? machine.region),
    metadata,
  };
  const credentials = await readCredentials(sources, signal);
  return readTpmEkPub(ec2 ?? endpointOf('ec2', machine.region), machine, credentials, signal);
}

function keys(): CredentialSources['keys'] {
  const sessionToken = process.env.AWS_SESSION_TOKEN || null;
  return pair('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', (accessKeyId, secretAccessKey) => ({
    accessKeyId,
    secretAccessKey,
    sessionToken,
  }));
}

/** Half of a pair is a mistake, and no reason to look elsewhere. */
function pair<T>(first: string, second: string, make: (one: string, other: string) => T): T | null {
  const [one, other] = [process.env[first] || null, process.env[second] || null];
  if (one === null && other === null) return null;
  if (one === null || other === null)
    throw new CloudFault(`of ${first} and ${second} only one is set: set both, or none`);
  return make(one, other);
}
