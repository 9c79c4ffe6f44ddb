"""The broker contract suite catches brokers that break it: one planted fault for each promise."""

from collections.abc import Awaitable, Callable

import pytest

from paiid.brokers import BrokerRejected
from tests.contract import test_broker_contract as contract
from tests.contract import test_broker_contract_activities as activities
from tests.contract import test_broker_contract_books as books
from tests.contract import test_broker_contract_changes as changes
from tests.contract import test_broker_contract_groups as groups
from tests.contract import test_broker_contract_members as members
from tests.contract import test_broker_contract_updates as updates
from tests.contract.broken_brokers import (
    AnswersNoToADuplicate,
    BeginsWithoutSayingSo,
    CancelsAllThoughItSaysNot,
    CancelsAnything,
    CancelsEverybodysOrders,
    CancelsTheFirstOnly,
    CountsContractsAsShares,
    CountsNoRequests,
    FillsOneLegOnly,
    FindsNothingByItsOwnId,
    ForgetsItsStop,
    ForgetsOrders,
    ForgetsTheGroup,
    HidesTheParent,
    InventsAnAccount,
    KeepsTheOldOneToo,
    LeavesOutTheInstantAskedAbout,
    LetsExitsLiveAtOnce,
    ListsEmptyPositions,
    ListsNoLegs,
    ListsWhatIsOver,
    MixesAccounts,
    MixesAccountsByItsOwnId,
    NeverSaysThatItsStopWasSet,
    NewestFirst,
    PassesOldNewsOffAsNew,
    PlacesTwice,
    ReplacesAnything,
    SkipsAnUpdate,
    StartsUpdatesAtTheBeginning,
    StopsCancelsToo,
    StopsEverybody,
    TakesATimeoutForARefusal,
    TakesTheNewQuantityForWhatIsLeft,
    TellsAnAccountTwice,
    TellsExitsWithoutTheirParent,
    TellsNoActivity,
    TradesInBlockedAccounts,
)
from tests.contract.stages import FakeStage, Stage
from tests.fakes import FakeBroker

Test = Callable[[Stage], Awaitable[None]]


@pytest.mark.parametrize(
    ("spoiled", "test"),
    [
        (PlacesTwice, contract.test_one_client_order_id_many_times_at_once_is_one_order),
        (
            AnswersNoToADuplicate,
            contract.test_E11_a_client_order_id_used_before_is_an_unknown_outcome_and_places_nothing,
        ),
        (ForgetsOrders, contract.test_E12_an_accepted_order_is_found_by_our_id_once_the_lag_is_over),
        (MixesAccounts, contract.test_an_order_nobody_placed_is_none_and_so_is_one_of_another_account),
        (CancelsAnything, contract.test_a_cancel_ends_the_order_and_a_second_one_is_refused),
        (CancelsAnything, contract.test_a_cancel_of_an_order_it_does_not_know_is_refused),
        (CancelsAnything, contract.test_an_order_cannot_be_canceled_from_another_account),
        (CancelsAnything, contract.test_a_filled_order_cannot_be_canceled_and_tells_its_average_price),
        (
            ListsWhatIsOver,
            contract.test_open_orders_are_those_of_the_account_that_still_work_oldest_first,
        ),
        (
            LeavesOutTheInstantAskedAbout,
            books.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (
            NewestFirst,
            books.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (
            ListsEmptyPositions,
            books.test_positions_are_signed_and_at_their_average_price_and_none_is_zero,
        ),
        (SkipsAnUpdate, updates.test_updates_tell_every_print_and_every_end_in_order),
        (
            StartsUpdatesAtTheBeginning,
            updates.test_updates_go_on_behind_any_cursor_without_a_gap_or_say_what_must_be_fetched,
        ),
        (TradesInBlockedAccounts, contract.test_a_blocked_account_takes_no_order_and_says_so),
        (
            TakesATimeoutForARefusal,
            contract.test_E11_no_answer_in_time_is_an_unknown_outcome_and_a_look_up_tells,
        ),
        (
            LetsExitsLiveAtOnce,
            groups.test_a_bracket_is_told_with_its_exits_each_of_them_an_order_of_its_own,
        ),
        (LetsExitsLiveAtOnce, groups.test_exits_wait_for_the_whole_entry_and_one_ends_the_other),
        (HidesTheParent, groups.test_a_bracket_is_told_with_its_exits_each_of_them_an_order_of_its_own),
        (ListsNoLegs, groups.test_a_bracket_is_told_with_its_exits_each_of_them_an_order_of_its_own),
        (ForgetsTheGroup, groups.test_exits_wait_for_the_whole_entry_and_one_ends_the_other),
        (ForgetsTheGroup, groups.test_an_entry_that_ends_early_takes_its_exits_along),
        (ForgetsTheGroup, groups.test_an_oco_is_its_own_take_profit),
        (ForgetsTheGroup, groups.test_a_leg_cannot_be_canceled_alone_and_goes_with_its_spread),
        (FillsOneLegOnly, groups.test_a_spread_is_told_with_its_legs_and_fills_in_whole_units),
        (CountsContractsAsShares, groups.test_a_spread_moves_cash_a_hundredfold),
        (CancelsAnything, groups.test_a_leg_cannot_be_canceled_alone_and_goes_with_its_spread),
        (KeepsTheOldOneToo, changes.test_a_replacement_takes_the_old_order_s_place),
        (KeepsTheOldOneToo, changes.test_both_orders_of_a_replacement_are_told_on_the_update_stream),
        (KeepsTheOldOneToo, changes.test_a_spread_is_replaced_with_its_legs),
        (
            TakesTheNewQuantityForWhatIsLeft,
            changes.test_the_quantity_of_a_part_is_changed_in_total_or_not_at_all_where_the_table_says_so,
        ),
        (
            TakesTheNewQuantityForWhatIsLeft,
            changes.test_what_takes_the_place_of_a_part_that_has_filled_is_told_with_what_was_left,
        ),
        (ReplacesAnything, changes.test_what_is_over_unknown_or_another_s_is_not_replaced),
        (ReplacesAnything, changes.test_the_new_total_is_more_than_what_has_filled),
        (ReplacesAnything, changes.test_E11_a_replacement_under_an_id_used_before_is_an_unknown_outcome),
        (ReplacesAnything, changes.test_one_replacement_many_times_at_once_happens_once),
        (
            TellsNoActivity,
            activities.test_activities_are_listed_once_each_oldest_first_and_change_the_account,
        ),
        (FindsNothingByItsOwnId, members.test_an_order_is_found_by_the_broker_s_id_as_by_ours),
        (
            MixesAccountsByItsOwnId,
            members.test_no_order_is_found_by_an_id_that_nobody_has_or_that_is_another_account_s,
        ),
        (TellsExitsWithoutTheirParent, members.test_exits_and_legs_are_found_by_the_broker_s_id),
        (
            InventsAnAccount,
            members.test_the_accounts_that_are_there_by_themselves_are_told_once_each_and_whole,
        ),
        (
            TellsAnAccountTwice,
            members.test_the_accounts_that_are_there_by_themselves_are_told_once_each_and_whole,
        ),
        (
            CancelsAllThoughItSaysNot,
            members.test_everything_open_in_an_account_is_canceled_at_once_where_the_table_says_so,
        ),
        (
            CancelsTheFirstOnly,
            members.test_everything_open_in_an_account_is_canceled_at_once_where_the_table_says_so,
        ),
        (
            CancelsEverybodysOrders,
            members.test_everything_open_in_an_account_is_canceled_at_once_where_the_table_says_so,
        ),
        (
            ForgetsItsStop,
            members.test_a_broker_s_own_stop_stops_orders_but_no_cancels_where_the_table_says_so,
        ),
        (
            NeverSaysThatItsStopWasSet,
            members.test_a_broker_s_own_stop_stops_orders_but_no_cancels_where_the_table_says_so,
        ),
        (
            StopsCancelsToo,
            members.test_a_broker_s_own_stop_stops_orders_but_no_cancels_where_the_table_says_so,
        ),
        (
            StopsEverybody,
            members.test_a_broker_s_own_stop_stops_orders_but_no_cancels_where_the_table_says_so,
        ),
        (CountsNoRequests, members.test_the_budget_is_none_for_ever_or_a_number_that_requests_make_less),
        (
            BeginsWithoutSayingSo,
            updates.test_a_stream_without_replay_tells_nothing_before_it_says_that_it_begins,
        ),
        (
            PassesOldNewsOffAsNew,
            updates.test_updates_go_on_behind_any_cursor_without_a_gap_or_say_what_must_be_fetched,
        ),
    ],
    ids=lambda one: one.__name__,
)
async def test_a_broker_that_breaks_the_contract_is_caught(spoiled: type[FakeBroker], test: Test) -> None:
    stage = FakeStage(spoiled())
    with pytest.raises((AssertionError, pytest.fail.Exception, BrokerRejected)):
        await test(stage)
