/** Of the cluster that KUBECONFIG names; null, which is said aloud, where it names none. */
export function kubeconfigOfTests(): (() => Promise<string>) | null {
  const { KUBECONFIG: kubeconfig = '' } = process.env;
  if (kubeconfig !== '') return async () => kubeconfig;
  console.log(
    'SKIPPED: KUBECONFIG names no cluster; set it to a kubeconfig of an administrator of a cluster for tests',
  );
  return null;
}
