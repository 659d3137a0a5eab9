import { Rejection } from '../wire/rejection.ts';

/** Who shows a token. */
export interface TokenBearer {
  /** From where it comes, as bounds are counted. */
  readonly source: string;
  /** The enrolled node whose public keys come with it, which anybody may copy; null if they are no node's. */
  readonly node: string | null;
  /** It comes from where that node last proved itself. */
  readonly isAtHome: boolean;
}

/** A cluster's knowledge of its nodes. A rejected promise is the cluster's fault: nobody is bound by it. */
export interface Cluster {
  /**
   * The id in its cloud of the machine behind a Node; null if there is no such Node, or it has none.
   * @throws Rejection `enrolment_pending` if the cluster is not known at present
   */
  providerIdOf(node: string): Promise<string | null>;
  /**
   * The node that a token is bound to; null if it is not a good token of this cluster's agents.
   * @param bearer nobody may have many of them looked at
   * @throws Rejection `token_rejected` if the cluster gave no answer
   */
  nodeOfToken(token: string, bearer: TokenBearer): Promise<string | null>;
  /** Whether the agent of a node of that name must show one at each connection. */
  wantsToken(node: string): boolean;
  /** The latest labels of a Node from the cluster; empty if there is no such Node. */
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** SMBIOS, as the kubelet of a Node says it; null if there is none. */
  systemUuidOf(node: string): string | null;
}

/**
 * Whose TPM a machine of a cloud has: the digest of its endorsement key, null if the cloud does not know it.
 * @throws Rejection `enrolment_pending` if the cloud gave no answer
 */
export type EkOfMachine = (providerId: string) => Promise<string | null>;

/** Who speaks for nodes of a cluster; `ekOfMachine` is null if nobody asks the cloud. */
export interface ClusterPorts {
  readonly cluster: Pick<Cluster, 'providerIdOf' | 'nodeOfToken'>;
  readonly ekOfMachine: EkOfMachine | null;
}

/** Whether this is what the machine of that Node has; `null` where the cloud does not know. */
export async function byCloud(
  { cluster, ekOfMachine }: ClusterPorts,
  node: string,
  ekDigest: string,
  boundTo?: string,
): Promise<{ providerId: string } | null> {
  if (ekOfMachine === null) return null;
  const providerId = await cluster.providerIdOf(node);
  if (providerId === null || providerId === boundTo) return null;
  const known = await ekOfMachine(providerId);
  if (known === null) return null;
  if (known !== ekDigest)
    throw new Rejection('enrolment_pending', `the cloud says that ${node} has another endorsement key`);
  return { providerId };
}

/**
 * The cluster vouches that an agent of this node sent the token. For the method `vendor` this is one half: that a maker
 * vouches for the TPM is found out once it has shown that the keys are its own.
 * @throws Rejection `token_rejected`
 */
export async function checkClusterToken(
  cluster: Pick<Cluster, 'nodeOfToken'>,
  node: string,
  token: string | null,
  bearer: TokenBearer,
): Promise<void> {
  if (token === null)
    throw new Rejection(
      'token_rejected',
      `the agent of ${node} shows no token of the cluster: set clusterTokenFile to a projected token of its service account`,
    );
  if ((await cluster.nodeOfToken(token, bearer)) !== node)
    throw new Rejection('token_rejected', `the token is not one of an agent on ${node}`);
}
