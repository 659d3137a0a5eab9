/**
 * Variables of the server's environment that the cloud program gets: where its credentials are (a cluster puts
 * `AWS_ROLE_ARN` and its like into a pod) and its own settings. Nothing else that the server was started with is its
 * business.
 */
export function cloudEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined && /^(AWS|ASSAY_CLOUD)_/.test(name)) given[name] = value;
  return given;
}
