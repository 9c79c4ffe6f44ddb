"""The broker contract suite catches brokers that break what their table promises, and what only some of them promise."""

import pytest

from paiid.brokers import Broker, BrokerRejected
from tests.contract import test_broker_contract as contract
from tests.contract import test_broker_contract_books as books
from tests.contract import test_broker_contract_changes as changes
from tests.contract import test_broker_contract_groups as groups
from tests.contract import test_broker_contract_updates as updates
from tests.contract.broken_brokers import CountsContractsAsShares
from tests.contract.broken_in_place import (
    ChangesAnybodysOrder,
    ChangesGroupsThoughItSaysNot,
    ChangesHowManyThoughItSaysNot,
    ChangesWhatIsOver,
    DropsOvernight,
    FindsTheNewestOfTwo,
    ForgetsByItsOwnIdToo,
    ForgetsOvernightThoughItSaysNot,
    ForgetsWhatHadFilled,
    KeepsTheOldTerms,
    MakesAnotherOrderOfIt,
    RemembersThoughItSaysNot,
    ShowsShortsAsLong,
    TakesMarketEntriesThoughItSaysNot,
    TakesOneOfManyUnseen,
    TakesPartsOfShares,
    TakesSalesThatSayNothing,
    TakesTheNewName,
    TellsNoAverage,
    TellsPrintsOnTheStream,
    TellsPrintsThoughItSaysNot,
    TellsTheNewestPrintOnly,
)
from tests.contract.stages import FakeStage, Manners
from tests.contract.test_broker_contract_bites import Test
from tests.fakes import FakeBroker


class PlainNames(FakeStage):
    """A stage whose broker takes one of our ids any number of times."""

    manners = Manners(ids_are_unique=False)


class TwoTokens(FakeStage):
    """A stage on which another broker has the account `bob`."""

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker)
        self._other = FakeBroker()

    def of(self, account: str) -> Broker:
        return self.broker if account == "me" else self._other


@pytest.mark.parametrize(
    ("spoiled", "test"),
    [
        (
            TellsPrintsThoughItSaysNot,
            books.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (TellsPrintsThoughItSaysNot, groups.test_a_spread_is_told_with_its_legs_and_fills_in_whole_units),
        (TellsPrintsOnTheStream, updates.test_updates_tell_every_print_and_every_end_in_order),
        (TellsNoAverage, updates.test_updates_tell_every_print_and_every_end_in_order),
        (TellsNoAverage, books.test_E18_what_has_filled_is_told_with_its_average_and_never_falls),
        (TellsTheNewestPrintOnly, books.test_E18_what_has_filled_is_told_with_its_average_and_never_falls),
        (
            TellsTheNewestPrintOnly,
            books.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (TellsTheNewestPrintOnly, updates.test_updates_tell_every_print_and_every_end_in_order),
        (MakesAnotherOrderOfIt, changes.test_a_replacement_takes_the_old_order_s_place),
        (MakesAnotherOrderOfIt, changes.test_both_orders_of_a_replacement_are_told_on_the_update_stream),
        (MakesAnotherOrderOfIt, changes.test_one_replacement_many_times_at_once_happens_once),
        (TakesTheNewName, changes.test_a_replacement_takes_the_old_order_s_place),
        (TakesTheNewName, changes.test_E11_a_replacement_under_an_id_used_before_is_an_unknown_outcome),
        (KeepsTheOldTerms, changes.test_a_replacement_takes_the_old_order_s_place),
        (KeepsTheOldTerms, changes.test_both_orders_of_a_replacement_are_told_on_the_update_stream),
        (
            ForgetsWhatHadFilled,
            changes.test_what_takes_the_place_of_a_part_that_has_filled_is_told_with_what_was_left,
        ),
        (ChangesHowManyThoughItSaysNot, changes.test_how_many_is_changed_or_refused_as_the_table_says),
        (
            ChangesHowManyThoughItSaysNot,
            changes.test_the_quantity_of_a_part_is_changed_in_total_or_not_at_all_where_the_table_says_so,
        ),
        (ChangesHowManyThoughItSaysNot, changes.test_the_new_total_is_more_than_what_has_filled),
        (ChangesWhatIsOver, changes.test_what_is_over_unknown_or_another_s_is_not_replaced),
        (ChangesAnybodysOrder, changes.test_what_is_over_unknown_or_another_s_is_not_replaced),
        (ChangesGroupsThoughItSaysNot, changes.test_an_entry_that_is_replaced_keeps_its_exits),
        (ChangesGroupsThoughItSaysNot, changes.test_a_spread_is_replaced_with_its_legs),
        (TakesPartsOfShares, contract.test_a_part_of_a_share_is_taken_or_refused_as_the_table_says),
        (
            TakesSalesThatSayNothing,
            contract.test_a_sale_opens_a_short_position_only_where_it_says_so_or_need_not_say_it,
        ),
        (
            TakesMarketEntriesThoughItSaysNot,
            groups.test_a_group_whose_entry_is_a_market_order_is_taken_or_refused_as_the_table_says,
        ),
        (
            ForgetsOvernightThoughItSaysNot,
            contract.test_E12_the_end_of_a_day_hides_by_our_id_what_is_over_only_where_the_table_says_so,
        ),
        (
            RemembersThoughItSaysNot,
            contract.test_E12_the_end_of_a_day_hides_by_our_id_what_is_over_only_where_the_table_says_so,
        ),
        (
            DropsOvernight,
            contract.test_E12_the_end_of_a_day_hides_by_our_id_what_is_over_only_where_the_table_says_so,
        ),
        (
            ForgetsByItsOwnIdToo,
            contract.test_E12_the_end_of_a_day_hides_by_our_id_what_is_over_only_where_the_table_says_so,
        ),
        (ShowsShortsAsLong, books.test_positions_are_signed_and_at_their_average_price_and_none_is_zero),
        (ShowsShortsAsLong, books.test_a_short_position_is_bought_back_and_gone),
        (CountsContractsAsShares, books.test_a_short_position_is_bought_back_and_gone),
    ],
    ids=lambda one: one.__name__,
)
async def test_a_broker_that_breaks_its_table_is_caught(spoiled: type[FakeBroker], test: Test) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, BrokerRejected)):
        await test(FakeStage(spoiled()))


@pytest.mark.parametrize(
    ("manners", "spoiled", "test"),
    [
        (
            PlainNames,
            FindsTheNewestOfTwo,
            contract.test_E11_a_client_order_id_used_before_is_an_unknown_outcome_and_places_nothing,
        ),
        (PlainNames, TakesOneOfManyUnseen, contract.test_one_client_order_id_many_times_at_once_is_one_order),
        (TwoTokens, FakeBroker, contract.test_an_account_that_the_broker_does_not_have_is_refused_or_empty),
    ],
    ids=lambda one: one.__name__,
)
async def test_a_broker_of_other_manners_that_breaks_the_contract_is_caught(
    manners: type[FakeStage], spoiled: type[FakeBroker], test: Test
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(manners(spoiled()))
