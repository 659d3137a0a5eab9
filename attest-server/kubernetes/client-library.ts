import { KubeConfig } from '@kubernetes/client-node';

/** A module of its own, loaded late: so a bundler takes what reads a kubeconfig, and leaves out the models of 20 MB. */
export function emptyKubeConfig(): KubeConfig {
  return new KubeConfig();
}
