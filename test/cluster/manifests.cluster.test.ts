import { describeManifests } from './manifests.ts';

const { KUBECONFIG: kubeconfig = '' } = process.env;
if (kubeconfig === '')
  console.log(
    'SKIPPED: KUBECONFIG names no cluster. Set it to a kubeconfig of an administrator of a cluster for tests.',
  );
describeManifests('a cluster', kubeconfig === '' ? null : async () => kubeconfig);
