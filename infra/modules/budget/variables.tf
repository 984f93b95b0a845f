variable "name" {
  type        = string
  description = "Name of the budget."
  nullable    = false
}

variable "resource_group_id" {
  type        = string
  description = "The resource group whose cost is watched."
  nullable    = false
}

variable "amount" {
  type        = number
  description = "What a month may cost, in the currency of the bill."

  validation {
    condition     = var.amount > 0
    error_message = "amount must be more than 0: docs/deployment.md says what to expect."
  }
}

variable "emails" {
  type        = list(string)
  description = "Who is told."

  validation {
    condition     = length(var.emails) > 0
    error_message = "emails must name somebody: a budget that nobody hears of keeps nothing."
  }
}

variable "action_group_id" {
  type        = string
  description = "The action group that is told as well."
  nullable    = false
}
