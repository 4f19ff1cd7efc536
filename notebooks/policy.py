"""Left or right? A sign at the entrance of a corridor says where to turn at its end.

An agent sees only the place where it stands, so it must remember the sign. It acts step by step
with a cell, and it learns from whole rollouts with `RNN`. Both give the same numbers, because
`resets` is true where an episode starts. An episode may continue from one rollout to the next.

    python notebooks/policy.py
    python notebooks/policy.py --longest 40
"""

import argparse
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax import Array
from tqdm import tqdm

import eqx_rnn

NUM_AGENTS, NUM_STEPS, NUM_UNITS = 128, 50, 32


# 1. The world: corridors of random lengths, in arrays of shape `(agents, ...)`.


class Corridor(NamedTuple):
    sign: Array  # -1 or 1: where to turn at the end
    length: Array  # how many steps to the end
    position: Array  # 0 at the entrance, `length` at the end


def enter(longest: int, *, key: Array) -> Corridor:
    sign_key, length_key = jr.split(key)
    lengths = jr.randint(length_key, (NUM_AGENTS,), 1, longest + 1)
    return Corridor(jr.rademacher(sign_key, (NUM_AGENTS,)), lengths, jnp.zeros_like(lengths))


def observe(world: Corridor) -> Array:
    """The observation, (agents, 3): the sign at the entrance, is it the entrance, is it the end."""
    at_start, at_end = world.position == 0, world.position == world.length
    return jnp.stack([world.sign * at_start, at_start, at_end], -1).astype(jnp.float32)


def move(world: Corridor, action: Array, longest: int, *, key: Array) -> tuple[Corridor, Array]:
    """The world after a step, and the reward: 1 or -1 for a turn at the end, 0 earlier."""
    at_end = world.position == world.length
    reward = jnp.where(at_end, jnp.where(2 * action - 1 == world.sign, 1.0, -1.0), 0.0)
    ahead = world._replace(position=world.position + 1)
    choose = lambda new, old: jnp.where(at_end, new, old)
    return jax.tree.map(choose, enter(longest, key=key), ahead), reward


# 2. The agent: two cells in a row, and a linear layer.


class Agent(eqx.Module):
    cell: eqx_rnn.StackedCell
    head: eqx.nn.Linear

    def __init__(self, *, key: Array):
        low_key, high_key, head_key = jr.split(key, 3)
        low = eqx_rnn.GRUCell(3, NUM_UNITS, key=low_key)
        self.cell = eqx_rnn.StackedCell([low, eqx_rnn.GRUCell(NUM_UNITS, NUM_UNITS, key=high_key)])
        self.head = eqx.nn.Linear(NUM_UNITS, 2, key=head_key)


# 3. Acting, step by step.


class Rollout(NamedTuple):
    seen: Array  # (agents, time, 3)
    is_first: Array  # (agents, time)
    actions: Array  # (agents, time)
    rewards: Array  # (agents, time)


def act(agent: Agent, world: Corridor, carry, longest: int, *, key: Array):
    """Plays `NUM_STEPS` steps, continuing from the end of the last rollout."""
    own = agent.cell.initialize_carry(None, observe(world))

    def step(state, key):
        world, carry = state
        seen, is_first = observe(world), world.position == 0
        choose = lambda new, old: jnp.where(is_first[:, None], new, old)
        carry, hidden = agent.cell(jax.tree.map(choose, own, carry), seen)
        action_key, world_key = jr.split(key)
        action = jr.categorical(action_key, jax.vmap(agent.head)(hidden))
        world, reward = move(world, action, longest, key=world_key)
        return (world, carry), Rollout(seen, is_first, action, reward)

    (world, carry), rollout = jax.lax.scan(step, (world, carry), jr.split(key, NUM_STEPS))
    return world, carry, jax.tree.map(lambda a: a.swapaxes(0, 1), rollout)


# 4. Learning from all steps at once: rewarded actions become more likely (REINFORCE).


def loss_fn(agent: Agent, carry, rollout: Rollout) -> Array:
    rnn = eqx_rnn.RNN(agent.cell)
    hidden = rnn(rollout.seen, initial_carry=carry, resets=rollout.is_first)
    logits = jax.vmap(jax.vmap(agent.head))(hidden)
    surprise = optax.softmax_cross_entropy_with_integer_labels(logits, rollout.actions)
    return (rollout.rewards * surprise).mean()


def train(agent: Agent, longest: int, rollouts: int, *, key: Array) -> float:
    """Returns the share of correct turns in the last tenth of the rollouts."""
    optimizer = optax.adam(3e-3)
    opt_state = optimizer.init(eqx.filter(agent, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(agent, opt_state, world, carry, key):
        world, new_carry, rollout = act(agent, world, carry, longest, key=key)
        grads = eqx.filter_grad(loss_fn)(agent, carry, rollout)
        updates, opt_state = optimizer.update(grads, opt_state)
        correct = (rollout.rewards > 0).sum() / (rollout.rewards != 0).sum()
        return eqx.apply_updates(agent, updates), opt_state, world, new_carry, correct

    world_key, key = jr.split(key)
    world = enter(longest, key=world_key)
    carry, shares = agent.cell.initialize_carry(None, observe(world)), []
    print("JAX compiles acting and learning for a few seconds.")
    with tqdm(jr.split(key, rollouts), desc="training", unit="rollout") as progress:
        for step_key in progress:
            agent, opt_state, world, carry, share = step(agent, opt_state, world, carry, step_key)
            shares.append(float(share))
            progress.set_postfix(correct=f"{shares[-1]:.1%}")
    last = shares[-max(1, rollouts // 10) :]
    return sum(last) / len(last)


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def main(longest: int, rollouts: int, seed: int) -> None:
    agent_key, train_key = jr.split(jr.key(seed))
    share = train(Agent(key=agent_key), longest, rollouts, key=train_key)
    print(f"correct turns: {share:.1%} (without memory: 50.0%)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Train a recurrent agent to remember a sign along a corridor.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--longest", type=positive_int, default=20, help="longest corridor")
    parser.add_argument("--rollouts", type=positive_int, default=300, help="number of updates")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    main(**vars(parser.parse_args()))
