import type { Cluster } from '../enrolment/cluster.ts';
import { tokenAudience } from '../formats/marks.ts';
import { ClusterError } from '../marking/ports.ts';
import { Rejection } from '../wire/rejection.ts';
import type { TokenReviews } from './token-reviews.ts';

export interface AgentTokenParts {
  readonly reviews: Pick<TokenReviews, 'whoseIs'>;
  /** The service account of agents. */
  readonly account: { readonly namespace: string; readonly name: string };
}

/** Claim of a token that is bound to a pod, by default since 1.30: the Node on which that pod runs. */
const nodeName = 'authentication.kubernetes.io/node-name';

/** On which node the agent with this token runs. */
export function createAgentTokens({ reviews, account }: AgentTokenParts): Cluster['nodeOfToken'] {
  const username = `system:serviceaccount:${account.namespace}:${account.name}`;
  return async (token, bearer) => {
    try {
      const user = await reviews.whoseIs(token, tokenAudience, bearer);
      if (user?.username !== username) return null;
      const [node, ...more] = user.extra[nodeName] ?? [];
      return node === undefined || more.length > 0 ? null : node;
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      throw new Rejection('token_rejected', `nobody could say whose token this is: ${error.message}`, {
        cause: error,
      });
    }
  };
}
