import { join } from 'node:path';

/** What Node is given to start each program of ours. */
export interface Programs {
  readonly assay: string;
  readonly 'assay-server': string;
  readonly 'assay-agent': string;
  readonly 'assay-cloud-aws': string;
  readonly 'assay-cloud-gce': string;
}

const root = join(import.meta.dirname, '..');

export const sources: Programs = {
  assay: join(root, 'attest-server/cli/assay.mjs'),
  'assay-server': join(root, 'attest-server/main.ts'),
  'assay-agent': join(root, 'agent/main.ts'),
  'assay-cloud-aws': join(root, 'manifests/cloud/aws/main.ts'),
  'assay-cloud-gce': join(root, 'manifests/cloud/gce/main.ts'),
};

/** @param folder into which `npm run build` wrote */
export function compiledIn(folder: string): Programs {
  return {
    assay: join(folder, 'assay.js'),
    'assay-server': join(folder, 'assay-server.js'),
    'assay-agent': join(folder, 'assay-agent.js'),
    'assay-cloud-aws': join(folder, 'assay-cloud-aws.js'),
    'assay-cloud-gce': join(folder, 'assay-cloud-gce.js'),
  };
}
