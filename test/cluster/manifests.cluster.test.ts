import { kubeconfigOfTests } from './kubeconfig-of-tests.ts';
import { describeManifests } from './manifests.ts';

describeManifests('a cluster', kubeconfigOfTests());
