# What a month may cost, and who hears of it.
locals {
  notifications = {
    half     = { threshold = 50, type = "Actual" }
    most     = { threshold = 80, type = "Actual" }
    all      = { threshold = 100, type = "Actual" }
    forecast = { threshold = 110, type = "Forecasted" }
  }
}

resource "azurerm_consumption_budget_resource_group" "this" {
  name              = var.name
  resource_group_id = var.resource_group_id
  amount            = var.amount
  time_grain        = "Monthly"

  # A budget begins with a month that is not over.
  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00Z", plantimestamp())
  }

  dynamic "notification" {
    for_each = local.notifications

    content {
      enabled        = true
      operator       = "GreaterThanOrEqualTo"
      threshold      = notification.value.threshold
      threshold_type = notification.value.type
      contact_emails = var.emails
      contact_groups = [var.action_group_id]
    }
  }

  lifecycle {
    ignore_changes = [time_period]
  }
}
