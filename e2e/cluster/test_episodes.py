"""A few of the episodes that `make episodes` plays by the thousand."""

import unittest

from episodes import play

# By this seed: operator kill, evict, scale in, kill.
COUNT, SEED = 4, 4


class Episodes(unittest.TestCase):
    def test_nobody_is_lost_in_some_episodes(self) -> None:
        self.assertTrue(play(COUNT, SEED, rooms=2, viewers=2))


if __name__ == "__main__":
    unittest.main()
