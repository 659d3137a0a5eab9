import type { Environment } from '@marcbachmann/cel-js';
import type { Action, Authorizer, Decision } from './authorizer.ts';
import { celEnvironment } from './cel.ts';
import { serviceAccount, type User } from './users.ts';

type ResourceAction = Omit<Extract<Action, { resource: string }>, 'verb'>;

/** `authorizer` of an admission policy: whether whoever asks may do something else, too. */
export class AuthorizerValue {
  readonly requestResource: ResourceCheck;
  readonly #authorizer: Authorizer;
  readonly #user: User;

  constructor(authorizer: Authorizer, user: User, request: ResourceAction) {
    this.#authorizer = authorizer;
    this.#user = user;
    this.requestResource = new ResourceCheck(this, request);
  }

  decide(action: Action): DecisionValue {
    return new DecisionValue(this.#authorizer.authorize(this.#user, action));
  }

  of(user: User): AuthorizerValue {
    return new AuthorizerValue(this.#authorizer, user, nothing);
  }
}

const nothing: ResourceAction = { group: '', resource: '', subresource: '', namespace: '', name: '' };

class GroupCheck {
  readonly authorizer: AuthorizerValue;
  readonly group: string;

  constructor(authorizer: AuthorizerValue, group: string) {
    this.authorizer = authorizer;
    this.group = group;
  }
}

class PathCheck {
  readonly authorizer: AuthorizerValue;
  readonly path: string;

  constructor(authorizer: AuthorizerValue, path: string) {
    this.authorizer = authorizer;
    this.path = path;
  }
}

class ResourceCheck {
  readonly authorizer: AuthorizerValue;
  readonly action: ResourceAction;

  constructor(authorizer: AuthorizerValue, action: ResourceAction) {
    this.authorizer = authorizer;
    this.action = action;
  }

  with(more: Partial<ResourceAction>): ResourceCheck {
    return new ResourceCheck(this.authorizer, { ...this.action, ...more });
  }
}

class DecisionValue {
  readonly decision: Decision;

  constructor(decision: Decision) {
    this.decision = decision;
  }
}

let shared: Environment | undefined;

/** What an expression of a policy may name. */
export function policyEnvironment(): Environment {
  shared ??= makeEnvironment();
  return shared;
}

function makeEnvironment(): Environment {
  return celEnvironment(['object', 'oldObject', 'request', 'params', 'namespaceObject', 'variables'])
    .registerType('ResourceCheck', { ctor: ResourceCheck, fields: {} })
    .registerType('GroupCheck', { ctor: GroupCheck, fields: {} })
    .registerType('PathCheck', { ctor: PathCheck, fields: {} })
    .registerType('Decision', { ctor: DecisionValue, fields: {} })
    .registerType('Authorizer', { ctor: AuthorizerValue, fields: { requestResource: 'ResourceCheck' } })
    .registerVariable('authorizer', 'Authorizer')
    .registerFunction('Authorizer.group(string): GroupCheck', (its: AuthorizerValue, group: string) => {
      return new GroupCheck(its, group);
    })
    .registerFunction('Authorizer.path(string): PathCheck', (its: AuthorizerValue, path: string) => {
      return new PathCheck(its, path);
    })
    .registerFunction(
      'Authorizer.serviceAccount(string, string): Authorizer',
      (its: AuthorizerValue, namespace: string, name: string) => its.of(serviceAccount(namespace, name)),
    )
    .registerFunction('GroupCheck.resource(string): ResourceCheck', (its: GroupCheck, resource: string) => {
      return new ResourceCheck(its.authorizer, { ...nothing, group: its.group, resource });
    })
    .registerFunction(
      'ResourceCheck.subresource(string): ResourceCheck',
      (its: ResourceCheck, subresource: string) => {
        return its.with({ subresource });
      },
    )
    .registerFunction(
      'ResourceCheck.namespace(string): ResourceCheck',
      (its: ResourceCheck, namespace: string) => {
        return its.with({ namespace });
      },
    )
    .registerFunction('ResourceCheck.name(string): ResourceCheck', (its: ResourceCheck, name: string) => {
      return its.with({ name });
    })
    .registerFunction('ResourceCheck.check(string): Decision', (its: ResourceCheck, verb: string) => {
      return its.authorizer.decide({ verb, ...its.action });
    })
    .registerFunction('PathCheck.check(string): Decision', (its: PathCheck, verb: string) => {
      return its.authorizer.decide({ verb, path: its.path });
    })
    .registerFunction('Decision.allowed(): bool', (its: DecisionValue) => its.decision.allowed)
    .registerFunction('Decision.errored(): bool', () => false)
    .registerFunction('Decision.error(): string', () => '')
    .registerFunction('Decision.reason(): string', (its: DecisionValue) => its.decision.reason);
}
